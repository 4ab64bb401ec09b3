"""LSTM Q + norm I, "VQA: Visual Question Answering" (Antol et al., ICCV 2015; with two LSTM layers: Lu et al., 2015).

    pixels -> encoder -> project (1 x 1 convolution, ReLU) -> mean over cells -> L2 norm -> linear, tanh  = I
    question -> embedding -> two-layer LSTM, last hidden states                          -> linear, tanh  = Q
    p(answer) = softmax(readout(tanh(fuse(I * Q))))

No attention: the photo is one vector before the question is asked. One thing differs from the paper: each cell is projected
before the mean, so that the last spatial layer speaks about answers and not about ImageNet classes. The encoder belongs to the
captioner and is stored there.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ..vqa_network import VQAConfig, VQANetwork


@dataclass(frozen=True)
class LSTMQConfig(VQAConfig):
    """No size of its own."""


class LSTMQ(VQANetwork):
    """`forward(pixels, question)` -> logits `(b, answers)`."""

    reads_mean_cell = True

    def __init__(self, config: LSTMQConfig) -> None:
        super().__init__(config)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def context(self, cells: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` -> their mean, of length sqrt(d): `(b, d)`."""
        vector: Tensor = F.normalize(self.pool(cells).flatten(1), dim=1) * self.config.width**0.5
        return vector

    def answer(self, context: Tensor, question: Tensor) -> Tensor:
        """Image vectors `(b, d)` and encoded questions `(b, 2 hidden)` -> logits `(b, answers)`."""
        return self.choose(context, question)
