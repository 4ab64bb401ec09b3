"""NIC, "Show and Tell: A Neural Image Caption Generator" (Vinyals, Toshev, Bengio, Erhan, CVPR 2015).

    pixels -> encoder -> project (1 x 1 convolution, ReLU) -> mean over cells -> LayerNorm -> image vector
    LSTM:  x_-1 = image vector,  x_0 = <bos>,  x_i = word i - 1;   p(word i) = softmax(readout(h_i))          eq. 10 to 12
    with `merge`:  p(word i) = softmax(readout(h_i + sigmoid(gate(h_i)) merge(image vector)))

The photo is one vector, the same for every word: no attention. Three things differ from the paper. Each cell is projected before
the mean, so that the last spatial layer speaks about words and not about ImageNet classes; the readout shares its matrix with the
word embedding (Press and Wolf, EACL 2017); and, with `merge`, the image vector enters before the readout as well, as in m-RNN
(Mao et al., ICLR 2015): there a word's logit is the mean of what each cell says for it (`cell_words`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .encoder import Encoder
from .lstm import gates, lstm_step
from .search import State, beam_search
from .vocabulary import BOS


@dataclass(frozen=True)
class CaptionerConfig:
    """The sizes that our captioners share."""

    vocabulary_size: int
    encoder: str = "tf_efficientnet_lite0"
    output_stride: int = 16  # 14 x 14 cells; 32 gives 7 x 7 with the same weights
    image_size: int = 224
    width: int = 512  # of the projected cells, the embeddings and the LSTM state
    dropout: float = 0.3
    max_words: int = 20


@dataclass(frozen=True)
class NICConfig(CaptionerConfig):
    merge: bool = False  # the image vector also enters before the readout, through a gate that the LSTM's state opens


class Captioner(nn.Module):
    """What our captioners share: cells of a photo, words in and out.

    `forward(pixels, ids)` -> logits `(b, t, v)`: position `i` scores `ids[:, i]` given the image and the words before. A model
    adds `context(cells)`, what it takes of a photo, `unroll(context, ids)` -> the states `(b, t, d)` from which each id is read
    and the attention `(b, t, h w)` or None, and `generate`.
    """

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        self.encoder = Encoder(config.encoder, config.output_stride)
        self.project = nn.Sequential(nn.Conv2d(self.encoder.channels, d, 1), nn.ReLU())
        self.embedding = nn.Embedding(config.vocabulary_size, d)
        self.readout = nn.Linear(d, config.vocabulary_size)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("baseline", torch.zeros(d))  # A0: the mean training cell, "no photo"
        self.baseline: Tensor
        nn.init.normal_(self.embedding.weight, std=d**-0.5)
        self.readout.weight = self.embedding.weight

    def context(self, cells: Tensor) -> Tensor:
        raise NotImplementedError

    def unroll(self, context: Tensor, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def generate(self, cells: Tensor, beam: int = 3, length_penalty: float = 0.7) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        return self.decode(self.cells(pixels), ids)

    def cells(self, pixels: Tensor) -> Tensor:
        """Pixels `(b, 3, H, W)` -> the last spatial layer `(b, d, h, w)`."""
        cells: Tensor = self.project(self.encoder(pixels))
        return cells

    def decode(self, cells: Tensor, ids: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` and ids `(b, t)` -> logits `(b, t, v)`."""
        states, _ = self.unroll(self.context(cells), ids)
        logits: Tensor = self.readout(self.dropout(states))
        return logits


class NIC(Captioner):
    """The image vector is the LSTM's first input."""

    def __init__(self, config: NICConfig) -> None:
        super().__init__(config)
        d = config.width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.image_norm = nn.LayerNorm(d)
        self.input_gates, self.hidden_gates = gates(d, d)
        self.merge = nn.Linear(d, d, bias=False) if config.merge else None
        self.merge_gate = nn.Linear(d, d) if config.merge else None

    def context(self, cells: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` -> the LSTM's first input `(b, d)`."""
        vector: Tensor = self.image_norm(self.pool(cells).flatten(1))
        return vector

    def states(self, image: Tensor, ids: Tensor) -> Tensor:
        """Image vectors `(b, d)` and ids `(b, t)` -> the LSTM states `(b, t, d)` from which each id is read."""
        start = torch.full_like(ids[:, :1], BOS)
        words = self.embedding(torch.cat([start, ids[:, :-1]], dim=1)) * self.config.width**0.5
        from_words = self.input_gates(
            self.dropout(words)
        )  # of all words in one product, apart from the image's: no gradient here
        state = self.step(self.input_gates(self.dropout(image)), None)  # what follows the image alone predicts nothing
        outputs = []
        for gate in from_words.unbind(dim=1):
            state = self.step(gate, state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1)

    def unroll(self, context: Tensor, ids: Tensor) -> tuple[Tensor, None]:
        """The states `(b, t, d)`, and the attention: none."""
        return self.merged(self.states(context, ids), context[:, None]), None

    def merged(self, states: Tensor, context: Tensor) -> Tensor:
        """LSTM states and the image vector, broadcast against each other -> what words are read from."""
        if self.merge is None or self.merge_gate is None:
            return states
        merged: Tensor = states + self.merge_gate(states).sigmoid() * self.merge(context)
        return merged

    def cell_words(self, cells: Tensor) -> Tensor:
        """What each cell adds to the words' logits through `merge`: `(b, d, h, w)` -> `(b, h w, v)`; their mean is the image's.

        The image vector is the mean cell, normalised; each cell is scaled as its mean is.
        """
        assert self.merge is not None
        flat = cells.flatten(2).transpose(1, 2)
        variance, mean = torch.var_mean(flat.mean(dim=1, keepdim=True), dim=-1, keepdim=True, correction=0)
        norm = self.image_norm
        normed = (flat - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
        logits: Tensor = self.readout(self.merge(normed))
        return logits

    def step(self, gates: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """One LSTM step: the input's share of the gates `(b, 4 d)`, the state `(h, c)` before -> the state after."""
        if state is not None:
            gates = gates + self.hidden_gates(state[0])
        return lstm_step(gates, None if state is None else state[1])

    def generate(self, cells: Tensor, beam: int = 3, length_penalty: float = 0.7) -> tuple[Tensor, Tensor]:
        """Captions `(b, t)` and their log-probabilities `(b,)`: see `beam_search`."""

        def say(words: Tensor, state: State) -> tuple[Tensor, State]:
            hidden, memory, context = state
            hidden, memory = self.step(self.input_gates(self.embedding(words) * self.config.width**0.5), (hidden, memory))
            return self.readout(self.merged(hidden, context)), (hidden, memory, context)

        context = self.context(cells)
        start = (*self.step(self.input_gates(context), None), context)
        return beam_search(say, start, max_words=self.config.max_words, beam=beam, length_penalty=length_penalty)
