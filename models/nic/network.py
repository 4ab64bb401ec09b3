"""NIC, "Show and Tell: A Neural Image Caption Generator" (Vinyals, Toshev, Bengio, Erhan, CVPR 2015).

    pixels -> encoder -> project (two 1 x 1 convolutions, cells of length 1) -> mean over cells = image vector v
    LSTM:  x_-1 = LayerNorm(v),  x_0 = <bos>,  x_i = word i - 1                                               eq. 10 to 12
    p(word i) = softmax(W h_i + b + sigmoid(g . h_i) s * (U v))

The photo is one vector, the same for every word: no attention. What differs from the paper: cells are projected before the mean,
so that the last spatial layer speaks about words and not about ImageNet classes; W is the word embedding (Press and Wolf, EACL
2017); and the image vector enters before the softmax as well, as in m-RNN (Mao et al., ICLR 2015). There, row w of U is the unit
vector of word w, and `U v` the mean of its cosines with the cells: word vectors and cells are trained on each other before the
LSTM is (`training/set_loss.py`). s is a factor for each word, the gate one number for each state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..beam_search import SearchLimits, State, beam_search
from ..captioner import Captioner, CaptionerConfig
from ..lstm import gates, lstm_step
from ..vocabulary import BOS


@dataclass(frozen=True)
class NICConfig(CaptionerConfig):
    """No size of its own."""


class ReadoutOfTwo(nn.Module):
    """LSTM states and gated image vectors side by side `(..., 2 d)` -> logits `(..., v)`, a sum of one for each of the two."""

    def __init__(self, from_state: nn.Linear) -> None:
        super().__init__()
        words, width = from_state.weight.shape
        self.from_state = from_state
        self.word_vectors = nn.Parameter(torch.randn(words, width) * width**-0.5)
        self.scale = nn.Parameter(torch.full((words,), 8.0))

    def forward(self, read: Tensor) -> Tensor:
        state, image = read.chunk(2, dim=-1)
        logits: Tensor = self.from_state(state) + self.from_image(image)
        return logits

    def from_image(self, vectors: Tensor) -> Tensor:
        """Mean cells, or cells, `(..., d)` -> the logits that they add `(..., v)`: each word's factor times its cosine."""
        return F.linear(vectors, F.normalize(self.word_vectors, dim=1)) * self.scale


class NIC(Captioner):
    """The image vector is the LSTM's first input, and is read once more beside each of its states."""

    tied_weights: ClassVar[Mapping[str, str]] = {"readout.from_state.weight": "embedding.weight"}
    reads_mean_cell = True
    readout: ReadoutOfTwo  # type: ignore[assignment]

    def __init__(self, config: NICConfig) -> None:
        super().__init__(config)
        d = config.width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.image_norm = nn.LayerNorm(d)
        self.input_gates, self.hidden_gates = gates(d, d)
        self.image_gate = nn.Linear(d, 1)
        self.readout = ReadoutOfTwo(self.readout)  # type: ignore[arg-type]

    def context(self, cells: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` -> the image vector `(b, d)`, their mean."""
        vector: Tensor = self.pool(cells).flatten(1)
        return vector

    def unroll(self, context: Tensor, ids: Tensor) -> tuple[Tensor, None]:
        """Image vectors `(b, d)` and ids `(b, t)` -> what each id is read from, `(b, t, 2 d)`; no attention."""
        start = torch.full_like(ids[:, :1], BOS)
        words = self.embedding(torch.cat([start, ids[:, :-1]], dim=1)) * self.config.width**0.5
        # All words in one product, apart from the image's: no gradient flows through these.
        from_words = self.input_gates(self.dropout(words))
        hidden, memory = self.begin(context)
        states = []
        for from_word in from_words.unbind(dim=1):
            hidden, memory = lstm_step(from_word + self.hidden_gates(hidden), memory)
            states.append(hidden)
        return self.beside_image(torch.stack(states, dim=1), context[:, None]), None

    def begin(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden state and memory `(b, d)` after the image vectors `(b, d)`, before any word is read."""
        return lstm_step(self.input_gates(self.dropout(self.image_norm(context))), None)

    def beside_image(self, states: Tensor, context: Tensor) -> Tensor:
        """LSTM states `(..., d)` beside the image vector, as far as the gate lets it through: `(..., 2 d)`."""
        return torch.cat([states, self.image_gate(states).sigmoid() * context], dim=-1)

    def cell_words(self, cells: Tensor) -> Tensor:
        """Logits `(b, h w, v)` that each cell `(b, d, h, w)` adds where the gate is open; the photo adds their mean."""
        return self.readout.from_image(cells.flatten(2).transpose(1, 2))

    def generate(self, cells: Tensor, beam: int = 3, length_penalty: float = 0.7) -> tuple[Tensor, Tensor]:
        """Captions `(b, t)` and their log-probabilities `(b,)`: see `beam_search`."""

        def next_log_probs(words: Tensor, state: State) -> tuple[Tensor, State]:
            hidden, memory, context = state
            from_word = self.input_gates(self.embedding(words) * self.config.width**0.5)
            hidden, memory = lstm_step(from_word + self.hidden_gates(hidden), memory)
            return self.readout(self.beside_image(hidden, context)).log_softmax(-1), (hidden, memory, context)

        context = self.context(cells)
        return beam_search(
            next_log_probs,
            (*self.begin(context), context),
            SearchLimits(self.config.max_words),
            beam=beam,
            length_penalty=length_penalty,
        )
