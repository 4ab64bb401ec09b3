"""SAT, "Show, Attend and Tell" with soft attention (Xu et al., ICML 2015): the twin of `nic` that has attention.

    pixels -> encoder -> project (1 x 1 convolution, ReLU) = cells a_i
    (h_0, c_0) from the mean cell;   alpha_i = softmax_i(w . tanh(W_a a_i + W_h h));   z = sigmoid(f(h)) sum_i alpha_i a_i
    LSTM:  x_i = [word i - 1, z];    p(word i) = softmax(readout(h_i + W_z z))                             eq. 1 to 13

Data, encoder, budget and seed are those of `nic`, whose encoder it uses; a grid of any size is attended to. The paper's output
also reads the word before; here the readout is tied to the embedding, which would make that word likeliest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..beam_search import SearchLimits, State, beam_search
from ..captioner import Captioner, CaptionerConfig
from ..lstm import gates, lstm_step, tanh
from ..vocabulary import BOS


@dataclass(frozen=True)
class SATConfig(CaptionerConfig):
    attention: int = 256


class SAT(Captioner):
    """The cells are attended to before every word."""

    def __init__(self, config: SATConfig) -> None:
        super().__init__(config)
        d = config.width
        self.attention = config.attention
        self.cell_norm = nn.LayerNorm(d)
        self.start = nn.Linear(d, 2 * d)
        self.from_cell = nn.Linear(d, config.attention)
        self.energy = nn.Linear(config.attention, 1, bias=False)
        self.word_gates, self.hidden_gates = gates(d, d)
        self.seen_gates = nn.Linear(d, 4 * d, bias=False)
        self.from_state = nn.Linear(d, config.attention + d)  # the query's half of the energies, and the gate on what is seen
        self.from_seen = nn.Linear(d, d, bias=False)

    def attend(self, cells: Tensor, ids: Tensor) -> Tensor:
        """Where each word looked: `(b, t, h, w)`, every map adds up to 1."""
        _, attention = self.unroll(self.context(cells), ids)
        return attention.unflatten(2, cells.shape[2:])  # type: ignore[no-untyped-call, no-any-return]

    def context(self, cells: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` -> what is attended to, `(b, h w, d)`."""
        context: Tensor = self.cell_norm(cells.flatten(2).transpose(1, 2))
        return context

    def unroll(self, context: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """What each id is read from `(b, t, d)`, and the attention `(b, t, h w)`."""
        first = torch.full_like(ids[:, :1], BOS)
        from_words = self.gates_of(torch.cat([first, ids[:, :-1]], dim=1))  # of all words in one product
        hidden, memory, keys = self.begin(context)
        states, attention = [], []
        for from_word in from_words.unbind(dim=1):
            seen, alpha, hidden, memory = self.step(from_word, hidden, memory, context, keys)
            states.append(torch.stack([hidden, seen]))
            attention.append(alpha)
        hiddens, seens = torch.stack(states, dim=2)
        return hiddens + self.from_seen(seens), torch.stack(attention, dim=1)

    def gates_of(self, ids: Tensor) -> Tensor:
        """Words -> their share of the gates `(..., 4 d)`."""
        share: Tensor = self.word_gates(self.dropout(self.embedding(ids) * self.config.width**0.5))
        return share

    def begin(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The state `(b, d)` twice before the first word, and the cells' half of the energies `(b, h w, attention)`."""
        hidden, memory = tanh(self.start(self.dropout(context.mean(dim=1)))).chunk(2, dim=-1)
        return hidden, memory, self.from_cell(context)

    def step(
        self, from_word: Tensor, hidden: Tensor, memory: Tensor, context: Tensor, keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A word's share of the gates `(b, 4 d)` -> what is seen `(b, d)`, the attention `(b, h w)`, hidden state and memory."""
        query, gate = self.from_state(hidden).tensor_split([self.attention], dim=-1)
        alpha = self.energy(tanh(keys + query[:, None]))[..., 0].softmax(dim=-1)
        seen = (alpha[:, None] @ context)[:, 0] * gate.sigmoid()
        hidden, memory = lstm_step(from_word + self.seen_gates(self.dropout(seen)) + self.hidden_gates(hidden), memory)
        return seen, alpha, hidden, memory

    def generate(self, cells: Tensor, beam: int = 3, length_penalty: float = 0.7) -> tuple[Tensor, Tensor]:
        """Captions `(b, t)` and their log-probabilities `(b,)`: see `beam_search`."""

        def next_log_probs(words: Tensor, state: State) -> tuple[Tensor, State]:
            hidden, memory, context, keys = state
            seen, _, hidden, memory = self.step(self.gates_of(words), hidden, memory, context, keys)
            return self.readout(hidden + self.from_seen(seen)).log_softmax(-1), (hidden, memory, context, keys)

        with torch.no_grad():
            context = self.context(cells)
            hidden, memory, keys = self.begin(context)
        start = (hidden, memory, context, keys)
        return beam_search(next_log_probs, start, SearchLimits(self.config.max_words), beam=beam, length_penalty=length_penalty)
