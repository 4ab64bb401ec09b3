"""Idefics3 (Laurençon et al., 2024) and SmolVLM: photos cut into tiles, and seen once more as a whole."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ...inputs import Inputs
from .. import image_placement
from ..family_spec import FamilySpec
from ..tiled_model import TiledModel


class Idefics3(TiledModel):
    """The ViT's last block. The last part is the whole photo."""

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_model
        return tower, tower.encoder.layers[-1]

    def tile_grid(self, width: int, height: int) -> tuple[int, int]:
        cut = self.image_processor([[image_placement.coordinate_image(width, height)]], return_row_col_info=True)
        return max(cut["rows"][0][0], 1), max(cut["cols"][0][0], 1)  # 0 and 0 where nothing is cut

    def run_tower(self, inputs: Inputs) -> None:
        self.model.get_image_features(inputs.pixels, inputs.extra_inputs["pixel_attention_mask"])

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """Nearly 0: parts that are 0 everywhere are taken for padding and left out."""
        return replace(inputs, pixels=torch.full_like(inputs.pixels, 1e-6))


SPECS = (
    FamilySpec(
        name="Idefics3, SmolVLM",
        task="captioning, vqa",
        architectures=("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
        adapter=Idefics3,
        layer="model.vision_model.encoder.layers[-1]",
        grid="26 x 26 a tile of 364 px (SmolVLM 32 x 32 of 512)",
        tokenizer="byte-level BPE",
        memory="0.5 GB (SmolVLM-256M, bfloat16)",
    ),
)
