"""What the bundled VQA networks share: the encoder's cells, the question's LSTM, and the answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .encoder import Encoder
from .lstm import LSTM, tanh
from .projection import projection


@dataclass(frozen=True)
class VQAConfig:
    """Sizes that all VQA networks have."""

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
    unit_cells: bool = False  # cells of length 1, behind one more convolution
    smoothing: int = 0  # how often cells take the mean of 3 x 3 cells


class VQANetwork(nn.Module, ABC):
    """Base of the VQA networks: projected cells, the question through a two-layer LSTM, and the choice of the answer.

    `forward(pixels, question)` gives logits `(b, answers)`; questions are ids `(b, q)`, right-padded with -1. A subclass adds
    `context` and `answer`.
    """

    tied_weights: ClassVar[Mapping[str, str]] = {}
    reads_mean_cell: ClassVar[bool] = False  # and nothing else of the cells: smoothing them then changes maps, not what is said

    def __init__(self, config: VQAConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder, config.output_stride)
        self.project = projection(self.encoder.channels, config.width, unit_cells=config.unit_cells, smoothing=config.smoothing)
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
        self.register_buffer("no_question", torch.zeros(2 * config.hidden))  # mean encoding of the training questions
        self.no_question: Tensor
        nn.init.normal_(self.embedding.weight, std=0.5)

    def forward(self, pixels: Tensor, question: Tensor) -> Tensor:
        return self.answer(self.context(self.cells(pixels)), self.read(question))

    @abstractmethod
    def context(self, cells: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` -> the part of the image that answers are read from: no question changes it."""

    @abstractmethod
    def answer(self, context: Tensor, question: Tensor) -> Tensor:
        """Contexts `(b, ...)` and encoded questions `(b, 2 hidden)` -> logits `(b, answers)`."""

    def cells(self, pixels: Tensor) -> Tensor:
        """Pixels `(b, 3, H, W)` -> the last spatial layer `(b, d, h, w)`."""
        cells: Tensor = self.project(self.encoder(pixels))
        return cells

    def read(self, question: Tensor) -> Tensor:
        """Questions `(b, q)` -> last hidden states of both LSTM layers, `(b, 2 hidden)`."""
        words = self.embedding(question.clamp(min=0))
        real = (question >= 0).repeat(len(words) // len(question), 1)  # a hook on the embedding may repeat its rows
        first = self.lstm1(self.dropout(words), real)
        second = self.lstm2(self.dropout(first), real)
        return torch.cat([first[:, -1], second[:, -1]], dim=1)

    def choose(self, seen: Tensor, question: Tensor) -> Tensor:
        """Image vectors `(b, d)` and encoded questions `(b, 2 hidden)` -> logits `(b, answers)`, from their product."""
        product = tanh(self.image(self.dropout(seen))) * tanh(self.question(self.dropout(question)))
        logits: Tensor = self.readout(self.dropout(tanh(self.fuse(self.dropout(product)))))
        return logits
