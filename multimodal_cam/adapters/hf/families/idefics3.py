"""Idefics3 (Laurençon et al., 2024) and SmolVLM: images cut into tiles, and seen once more as a whole, in the last part."""

from __future__ import annotations

from typing import Any

from torch import nn

from ... import image_placement
from ...inputs import Inputs
from ..family_spec import Capabilities, FamilySpec
from ..image_input import nearly_mean_colour_inputs
from ..loaded_model import LoadedModel
from ..tiled_input import Tiling


def last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    tower = model.model.vision_model
    return tower, tower.encoder.layers[-1]


def tile_grid(loaded: LoadedModel, width: int, height: int) -> tuple[int, int]:
    cut = loaded.image_processor([[image_placement.coordinate_image(width, height)]], return_row_col_info=True)
    return max(cut["rows"][0][0], 1), max(cut["cols"][0][0], 1)  # 0 and 0 where nothing is cut


def run_tower(loaded: LoadedModel, inputs: Inputs) -> None:
    loaded.model.get_image_features(inputs.pixels, inputs.extra_inputs["pixel_attention_mask"])


SPECS = (
    FamilySpec(
        name="Idefics3, SmolVLM",
        architectures=("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
        layer="model.vision_model.encoder.layers[-1]",
        grid="26 x 26 a tile of 364 px (SmolVLM 32 x 32 of 512)",
        tokenizer="byte-level BPE",
        memory="0.5 GB (SmolVLM-256M, bfloat16)",
        vision_tower_and_layer=last_block,
        capabilities=Capabilities(grid_follows_image=True),
        tiling=Tiling(tile_grid),
        run_tower=run_tower,
        baseline_inputs=nearly_mean_colour_inputs,
    ),
)
