"""Llama 4 (Meta, 2025): tiles and, where there are several, the whole behind them; four patches a token."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...inputs import Inputs
from .. import image_placement
from ..family_spec import Capabilities, FamilySpec
from ..tiled_model import TiledModel


class Llama4(TiledModel):
    """The ViT's last block. The photo stands at the top left of its tiles, with margins to the right or below."""

    capabilities = Capabilities(grid_follows_image=True, prefix_after_patches=True, tiles_in_one_dimension=True)

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


SPECS = (
    FamilySpec(
        name="Llama 4",
        task="captioning, vqa",
        architectures=("Llama4ForConditionalGeneration",),
        adapter=Llama4,
        layer="vision_model.model.layers[-1]",
        grid="24 x 24 a tile of 336 px",
        tokenizer="byte-level BPE",
        memory="220 GB (Scout, bfloat16)",
    ),
)
