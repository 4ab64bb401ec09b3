"""Qwen2-VL (Wang et al., 2024): a ViT for photos of any size, whose patches come packed and in blocks of two by two."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from .. import Inputs
from .grids import Ordered, Tokens
from .prompted import Prompted


class Qwen2VL(Prompted):
    """The ViT's last block; its merger makes one token of the prompt out of four patches."""

    grids_differ = True

    def places(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.visual
        return tower, tower.blocks[-1]

    def more(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        return values["pixel_values"][None], {"image_grid_thw": values["image_grid_thw"]}

    def picture(self, values: Mapping[str, Tensor]) -> Tensor:
        merge, side = self.image_processor.merge_size, self.image_processor.patch_size
        _, h, w = values["image_grid_thw"][0].tolist()
        patches = values["pixel_values"].float().view(h // merge, w // merge, merge, merge, 3, -1, side, side)[:, :, :, :, :, 0]
        return patches.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, h * side, w * side)

    def encode(self, inputs: Inputs) -> None:
        self.tower(inputs.pixels.flatten(0, 1), grid_thw=inputs.more["image_grid_thw"])

    def view(self, inputs: Inputs, layer: nn.Module) -> Tokens:
        _, h, w = inputs.more["image_grid_thw"][0].tolist()
        merge = self.image_processor.merge_size
        packed = torch.arange(h * w).view(h // merge, w // merge, merge, merge)
        return Ordered(shape=(h, w), order=packed.transpose(1, 2).flatten())

    def given(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        given = super().given(inputs, ids)
        kinds = (ids == self.model.config.image_token_id).long()
        return given | {"pixel_values": inputs.pixels.flatten(0, 1), "mm_token_type_ids": kinds}

    def read(self, inputs: Inputs, ids: Tensor) -> Tensor:
        with self._positions_kept():
            return super().read(inputs, ids)

    def say(self, inputs: Inputs, **options: Any) -> Tensor:
        with self._positions_kept():
            return super().say(inputs, **options)

    @contextmanager
    def _positions_kept(self) -> Iterator[None]:
        """The model keeps how far positions were moved by its last photo: afterwards it is what it was."""
        before = self.model.model.rope_deltas
        try:
            yield
        finally:
            self.model.model.rope_deltas = before

    def _kind(self, inputs: Inputs) -> Hashable:
        return super()._kind(inputs), tuple(inputs.more["image_grid_thw"][0].tolist())
