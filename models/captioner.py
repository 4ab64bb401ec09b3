"""What the bundled captioners share: the encoder's cells, the words, and the order in which they are computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .encoder import Encoder
from .projection import projection


@dataclass(frozen=True)
class CaptionerConfig:
    """Sizes that all captioners have."""

    vocabulary_size: int
    encoder: str = "tf_efficientnet_lite0"
    output_stride: int = 16  # 14 x 14 cells; 32 gives 7 x 7 with the same weights
    image_size: int = 224
    width: int = 512  # of the projected cells, the embeddings and the LSTM state
    dropout: float = 0.3
    max_words: int = 20  # of a caption that is generated
    unit_cells: bool = False  # cells of length 1, behind one more convolution
    smoothing: int = 0  # how often cells take the mean of 3 x 3 cells


class Captioner(nn.Module, ABC):
    """Base of the captioners: encoder, projected cells, embedding and tied readout.

    `forward(pixels, ids)` gives teacher-forced logits `(b, t, v)`: position `i` scores `ids[:, i]` given the image and the words
    before it. A subclass adds `context`, `unroll` and `generate`.
    """

    tied_weights: ClassVar[Mapping[str, str]] = {"readout.weight": "embedding.weight"}  # stored once
    reads_mean_cell: ClassVar[bool] = False  # and nothing else of the cells: smoothing them then changes maps, not what is said

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        self.encoder = Encoder(config.encoder, config.output_stride)
        self.project = projection(self.encoder.channels, d, unit_cells=config.unit_cells, smoothing=config.smoothing)
        self.embedding = nn.Embedding(config.vocabulary_size, d)
        self.readout = nn.Linear(d, config.vocabulary_size)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("baseline", torch.zeros(d))  # A0: the mean training cell, "no photo"
        self.baseline: Tensor
        nn.init.normal_(self.embedding.weight, std=d**-0.5)
        self.readout.weight = self.embedding.weight

    @abstractmethod
    def context(self, cells: Tensor) -> Tensor:
        """Cells `(b, d, h, w)` -> the part of the image that the decoder reads, one row an image."""

    @abstractmethod
    def unroll(self, context: Tensor, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """States `(b, t, d)` from which each id is read, and the attention `(b, t, h w)`, None without attention."""

    @abstractmethod
    def generate(self, cells: Tensor, beam: int = 3, length_penalty: float = 0.7) -> tuple[Tensor, Tensor]:
        """Captions `(b, t)`, right-padded with -1, and their log-probabilities `(b,)`: see `beam_search`."""

    def cell_words(self, cells: Tensor) -> Tensor | None:  # noqa: ARG002
        """Contribution of each cell to the words' logits `(b, h w, v)`, None where the network has no such sum."""
        return None

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
