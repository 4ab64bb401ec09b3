"""What the adapters of our own networks share: photos through the encoder, and the same without a photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..geometry import squeeze
from ..models.encoder import to_pixels
from ..models.vocabulary import Vocabulary
from . import Inputs, distinct


class OurNetwork:
    """A network of ours and its words. The tapped layer is `project`, the last spatial layer."""

    def __init__(self, module: Any, vocabulary: Vocabulary, name: str, sha256: str) -> None:
        self.network, self.vocabulary, self.name = module, vocabulary, name
        self.module: nn.Module = module
        self.layer: nn.Module = module.project
        self.affine: nn.Module | None = getattr(module, "pool", None)  # attention has none: its head is not affine anywhere
        self.provenance = {"weights": sha256}

    @property
    def device(self) -> torch.device:
        device: torch.device = self.network.baseline.device
        return device

    def prepare(self, images: Sequence[Image]) -> Inputs:
        """Images -> pixels, each distinct image once, the whole frame squeezed."""
        once, photo = distinct(images)
        pixels = to_pixels(once, self.network.config.image_size).to(self.network.baseline)
        return Inputs(pixels, tuple(squeeze(*image.size) for image in images), photo=photo)

    def cells(self, inputs: Inputs) -> Tensor:
        """The layer's activations, one row for each of `inputs`."""
        return inputs.spread(self.network.cells(inputs.pixels))

    def baseline(self, inputs: Inputs) -> Tensor:
        """The mean cell of the training photos, at every position."""
        cell: Tensor = self.network.baseline
        return cell.view(1, -1, 1, 1)

    def blank(self, inputs: Inputs) -> Inputs:
        return replace(inputs, pixels=torch.zeros_like(inputs.pixels))  # 0 is the mean colour after (x - 127) / 128
