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

from ..beam_search import SearchLimits, State, beam_search
from ..captioner import Captioner, CaptionerConfig
from ..lstm import gates, lstm_step
from ..vocabulary import BOS


@dataclass(frozen=True)
class NICConfig(CaptionerConfig):
    merge: bool = False  # the image vector also enters before the readout, through a gate that the LSTM's state opens


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

    def unroll(self, context: Tensor, ids: Tensor) -> tuple[Tensor, None]:
        """Image vectors `(b, d)` and ids `(b, t)` -> the states `(b, t, d)` from which each id is read; no attention."""
        start = torch.full_like(ids[:, :1], BOS)
        words = self.embedding(torch.cat([start, ids[:, :-1]], dim=1)) * self.config.width**0.5
        # All words in one product, apart from the image's: no gradient flows through these.
        from_words = self.input_gates(self.dropout(words))
        hidden, memory = lstm_step(self.input_gates(self.dropout(context)), None)  # after the image alone no word is read
        states = []
        for from_word in from_words.unbind(dim=1):
            hidden, memory = lstm_step(from_word + self.hidden_gates(hidden), memory)
            states.append(hidden)
        return self.merged(torch.stack(states, dim=1), context[:, None]), None

    def merged(self, states: Tensor, context: Tensor) -> Tensor:
        """LSTM states and the image vector, broadcast against each other -> what words are read from."""
        if self.merge is None or self.merge_gate is None:
            return states
        merged: Tensor = states + self.merge_gate(states).sigmoid() * self.merge(context)
        return merged

    def cell_words(self, cells: Tensor) -> Tensor | None:
        """Contribution of each cell to the logits through `merge`: `(b, d, h, w)` -> `(b, h w, v)`; its mean is the image's.

        The image vector is the mean cell, normalised; each cell is scaled as its mean is.
        """
        if self.merge is None:
            return None
        flat = cells.flatten(2).transpose(1, 2)
        variance, mean = torch.var_mean(flat.mean(dim=1, keepdim=True), dim=-1, keepdim=True, correction=0)
        norm = self.image_norm
        normed = (flat - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
        logits: Tensor = self.readout(self.merge(normed))
        return logits

    def generate(self, cells: Tensor, beam: int = 3, length_penalty: float = 0.7) -> tuple[Tensor, Tensor]:
        """Captions `(b, t)` and their log-probabilities `(b,)`: see `beam_search`."""

        def next_log_probs(words: Tensor, state: State) -> tuple[Tensor, State]:
            hidden, memory, context = state
            from_word = self.input_gates(self.embedding(words) * self.config.width**0.5)
            hidden, memory = lstm_step(from_word + self.hidden_gates(hidden), memory)
            return self.readout(self.merged(hidden, context)).log_softmax(-1), (hidden, memory, context)

        context = self.context(cells)
        start = lstm_step(self.input_gates(context), None)
        return beam_search(
            next_log_probs, (*start, context), SearchLimits(self.config.max_words), beam=beam, length_penalty=length_penalty
        )
