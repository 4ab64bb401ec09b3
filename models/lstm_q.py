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

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .encoder import Encoder
from .lstm import LSTM, tanh


@dataclass(frozen=True)
class LSTMQConfig:
    vocabulary_size: int
    answers: int
    encoder: str = "tf_efficientnet_lite0"
    output_stride: int = 16  # 14 x 14 cells; 32 gives 7 x 7 with the same weights
    image_size: int = 224
    width: int = 512  # of the projected cells and the product
    embedding: int = 256
    hidden: int = 256  # of each of the two LSTM layers
    dropout: float = 0.5
    max_words: int = 40


class Reader(nn.Module):
    """What our VQA models share: cells of a photo, the question through a two-layer LSTM, and the choice of the answer.

    A model adds `context(cells)`, what it takes of a photo, and `answer(context, question)` -> logits `(b, answers)`; questions
    are ids `(b, q)`, right-padded with -1.
    """

    def __init__(self, config: LSTMQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder, config.output_stride)
        self.project = nn.Sequential(nn.Conv2d(self.encoder.channels, config.width, 1), nn.ReLU())
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding)
        self.lstm1 = LSTM(config.embedding, config.hidden)
        self.lstm2 = LSTM(config.hidden, config.hidden)
        self.image = nn.Linear(config.width, config.width)
        self.question = nn.Linear(2 * config.hidden, config.width)
        self.fuse = nn.Linear(config.width, config.width)
        self.readout = nn.Linear(config.width, config.answers)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("baseline", torch.zeros(config.width))  # A0: the mean training cell, "no photo"
        self.baseline: Tensor
        self.register_buffer("no_question", torch.zeros(2 * config.hidden))  # the mean training question, as the LSTM reads it
        self.no_question: Tensor
        nn.init.normal_(self.embedding.weight, std=0.5)

    def forward(self, pixels: Tensor, question: Tensor) -> Tensor:
        return self.answer(self.context(self.cells(pixels)), self.read(question))

    def context(self, cells: Tensor) -> Tensor:
        raise NotImplementedError

    def answer(self, context: Tensor, question: Tensor) -> Tensor:
        raise NotImplementedError

    def cells(self, pixels: Tensor) -> Tensor:
        """Pixels `(b, 3, H, W)` -> the last spatial layer `(b, d, h, w)`."""
        cells: Tensor = self.project(self.encoder(pixels))
        return cells

    def read(self, question: Tensor) -> Tensor:
        """Questions `(b, q)` -> what the LSTM makes of them, `(b, 2 hidden)`."""
        words = self.embedding(question.clamp(min=0))
        real = (question >= 0).repeat(len(words) // len(question), 1)  # a tap on the embedding may put more rows in its place
        first = self.lstm1(self.dropout(words), real)
        second = self.lstm2(self.dropout(first), real)
        return torch.cat([first[:, -1], second[:, -1]], dim=1)

    def choose(self, seen: Tensor, question: Tensor) -> Tensor:
        """What is seen of the photo `(b, d)` and read questions `(b, 2 hidden)` -> logits `(b, answers)`, by their product."""
        product = tanh(self.image(self.dropout(seen))) * tanh(self.question(self.dropout(question)))
        logits: Tensor = self.readout(self.dropout(tanh(self.fuse(self.dropout(product)))))
        return logits


class LSTMQ(Reader):
    """`forward(pixels, question)` -> logits `(b, answers)`."""

    def __init__(self, config: LSTMQConfig) -> None:
        super().__init__(config)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def context(self, cells: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` -> their mean, of length sqrt(d): `(b, d)`."""
        vector: Tensor = F.normalize(self.pool(cells).flatten(1), dim=1) * self.config.width**0.5
        return vector

    def answer(self, context: Tensor, question: Tensor) -> Tensor:
        """Image vectors `(b, d)` and read questions `(b, 2 hidden)` -> logits `(b, answers)`."""
        return self.choose(context, question)
