"""Llama 4 (Meta, 2025): tiles and, where there are several, the whole behind them; four patches a token."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...inputs import Inputs
from .. import image_placement
from ..tiled_model import TiledModel


class Llama4(TiledModel):
    """The ViT's last block. The photo stands at the top left of its tiles, with margins to the right or below."""

    rest_behind = True
    flat = True

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.vision_model
        return tower, tower.model.layers[-1]

    def tile_grid(self, width: int, height: int) -> tuple[int, int]:
        rows, columns = self.image_processor([image_placement.coordinate_image(width, height)])["aspect_ratios"][0]
        return int(rows), int(columns)

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        if options.get("num_beams", 1) > 1:
            raise ValueError("beam: transformers' beam search fails with Llama 4 and a photo: leave it out")
        return super().generate_ids(inputs, **options)
