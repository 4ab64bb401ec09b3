"""SAN, "Stacked Attention Networks" (Yang et al., CVPR 2016): the twin of `lstm-q` that has attention.

    pixels -> encoder -> project (1 x 1 convolution, ReLU) = cells v_i;   question -> two-layer LSTM -> linear, tanh = u_0
    hop k:  p_i = softmax_i(w . tanh(W_v v_i + W_u u_{k-1}));   s_k = sum_i p_i v_i;   u_k = u_{k-1} + s_k    eq. 15 to 22
    p(answer) = softmax(readout(tanh(fuse(I * Q)))),   I and Q from s_K and the question as in `lstm-q`

What is answered from differs from the paper, whose u_K mixes photo and question by a sum: with the product of `lstm-q` the
attention is all that the twins differ in. Data, encoder, budget and seed are its own too; a grid of any size is attended to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..lstm import tanh
from ..vqa_network import VQAConfig, VQANetwork


@dataclass(frozen=True)
class SANConfig(VQAConfig):
    attention: int = 256
    hops: int = 2


class SAN(VQANetwork):
    """`forward(pixels, question)` -> logits `(b, answers)`."""

    def __init__(self, config: SANConfig) -> None:
        super().__init__(config)
        d = config.width
        self.cell_norm = nn.LayerNorm(d)
        self.query = nn.Linear(2 * config.hidden, d)
        self.from_cell = nn.ModuleList(nn.Linear(d, config.attention) for _ in range(config.hops))
        self.from_query = nn.ModuleList(nn.Linear(d, config.attention, bias=False) for _ in range(config.hops))
        self.energy = nn.ModuleList(nn.Linear(config.attention, 1, bias=False) for _ in range(config.hops))

    def context(self, cells: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` -> what is attended to, and its half of each hop's energies: `(b, h w, d + hops attention)`.

        All that no question changes: several questions about a photo share it.
        """
        seen = self.cell_norm(cells.flatten(2).transpose(1, 2))
        return torch.cat([seen, *(from_cell(seen) for from_cell in self.from_cell)], dim=-1)

    def answer(self, context: Tensor, question: Tensor) -> Tensor:
        """Contexts and encoded questions `(b, 2 hidden)` -> logits `(b, answers)`."""
        seen, _ = self.look(context, question)
        return self.choose(seen, question)

    def look(self, context: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """What the last hop saw `(b, d)`, and the attention of every hop `(hops, b, h w)`."""
        cells, keys = context.tensor_split([self.config.width], dim=-1)
        query = tanh(self.query(self.dropout(question)))
        attention, seen = [], query
        for key, from_query, energy in zip(keys.chunk(len(self.energy), dim=-1), self.from_query, self.energy, strict=True):
            attention.append(energy(tanh(key + from_query(query)[:, None]))[..., 0].softmax(dim=-1))
            seen = (attention[-1][:, None] @ cells)[:, 0]
            query = query + seen
        return seen, torch.stack(attention)
