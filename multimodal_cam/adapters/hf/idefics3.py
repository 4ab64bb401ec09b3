"""Idefics3 (Laurençon et al., 2024) and SmolVLM: photos cut into tiles, and seen once more as a whole."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import torch
from PIL.Image import Image
from torch import Tensor, nn

from .. import Inputs
from .grids import Tokens
from .tiled import Tiled, fused


class Idefics3(Tiled):
    """The ViT's last block. The last tile is the whole photo; a photo that is not cut is one tile."""

    def places(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_model
        return tower, tower.encoder.layers[-1]

    def more(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        tiles = torch.tensor([self._tiles(image)])
        return values["pixel_values"], {"pixel_attention_mask": values["pixel_attention_mask"], "tiles": tiles}

    def _tiles(self, image: Image) -> tuple[int, int]:
        """Rows and columns of tiles; 0 and 0 for a photo that is not cut."""
        cut = self.image_processor([[image]], return_row_col_info=True)
        return cut["rows"][0][0], cut["cols"][0][0]

    def _uncoloured(self, image: Image) -> Tensor:
        tiles, (rows, columns) = self._cut(image), self._tiles(image)
        rows, columns = max(rows, 1), max(columns, 1)
        cut = tiles[: rows * columns].unflatten(0, (rows, columns))  # type: ignore[no-untyped-call]
        picture: Tensor = cut.permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2)
        return picture

    def _whole(self, image: Image) -> Tensor:
        return self._cut(image)[-1]

    def _cut(self, image: Image) -> Tensor:
        values = self.image_processor([[image]], do_rescale=False, do_normalize=False, return_tensors="pt")
        tiles: Tensor = values["pixel_values"][0].float()
        return tiles

    def encode(self, inputs: Inputs) -> None:
        self.model.get_image_features(inputs.pixels, inputs.more["pixel_attention_mask"])

    def given(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        given = super().given(inputs, ids)
        return {name: value for name, value in given.items() if name != "tiles"}

    def blank(self, inputs: Inputs) -> Inputs:
        """Nearly 0: tiles that are 0 everywhere are taken for padding and left out."""
        return replace(inputs, pixels=torch.full_like(inputs.pixels, 1e-6))

    def view(self, inputs: Inputs, layer: nn.Module) -> Tokens:
        side = self.model.config.vision_config.patch_size
        h, w = (size // side for size in inputs.pixels.shape[-2:])
        rows, columns = (max(int(count), 1) for count in inputs.more["tiles"][0])
        cells = torch.arange(inputs.pixels.shape[1] * h * w).view(-1, h, w)
        tiles = cells[: rows * columns].view(rows, columns, h, w).transpose(1, 2).reshape(rows * h, columns * w)
        if len(cells) == rows * columns:
            return fused(tiles, None)
        place = inputs.placements[0]
        return fused(tiles, cells[-1], self.frame(place.width, place.height))

    def _kind(self, inputs: Inputs) -> Hashable:
        return super()._kind(inputs), tuple(inputs.more["tiles"][0].tolist())
