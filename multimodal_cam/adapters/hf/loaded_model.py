"""A network with its processor and its family's spec: what all parts of an adapter share, and a spec's functions are given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..compute_device import device_of, dtype_of
from ..inputs import Inputs
from .text import TextTokenizer
from .vision_tower import count_prefix_tokens

if TYPE_CHECKING:
    from .family_spec import FamilySpec

TILES = "tiles"  # extra input: rows and columns of tiles of each image, which no model takes


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network, its processor, and how its family runs. `tower` is the vision tower, `layer` the layer explained by default."""

    model: Any
    processor: Any
    name: str
    spec: FamilySpec
    tower: nn.Module
    layer: nn.Module

    @cached_property
    def tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    @cached_property
    def image_processor(self) -> Any:
        return getattr(self.processor, "image_processor", self.processor)

    @cached_property
    def text(self) -> TextTokenizer:
        return TextTokenizer(self.tokenizer)

    @cached_property
    def prefix(self) -> int:
        """Number of tokens without a place in front of the tower's patches."""
        return count_prefix_tokens(self.tower)

    @property
    def device(self) -> torch.device:
        """Device of the vision tower; sharded models move other inputs themselves."""
        return device_of(self.tower)

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self.tower)

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """Arguments of the network's forward beside the `ids` `(b, n)` of prompt and text."""
        pixels = inputs.pixels.flatten(0, 1) if self.spec.capabilities.pixels_in_one_dimension else inputs.pixels
        extra = {name: value for name, value in inputs.extra_inputs.items() if name != TILES}
        kwargs = {"pixel_values": pixels, "attention_mask": torch.ones_like(ids), **extra}
        return kwargs | self.spec.token_kwargs(self, inputs, ids)


def no_token_kwargs(_loaded: LoadedModel, _inputs: Inputs, _ids: Tensor) -> dict[str, Tensor]:
    """No arguments that depend on each token: what most families need."""
    return {}
