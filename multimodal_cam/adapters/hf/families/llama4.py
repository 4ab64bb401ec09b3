"""Llama 4 (Meta, 2025): tiles and, where there are several, the whole behind them; four patches a token.

The image stands at the top left of its tiles, with margins to the right or below.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ... import image_placement
from ...inputs import Inputs
from ..decoding import generate_prompted
from ..family_spec import Capabilities, FamilySpec
from ..loaded_model import LoadedModel
from ..tiled_input import Tiling


def last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    return model.vision_model, model.vision_model.model.layers[-1]


def tile_grid(loaded: LoadedModel, width: int, height: int) -> tuple[int, int]:
    rows, columns = loaded.image_processor([image_placement.coordinate_image(width, height)])["aspect_ratios"][0]
    return int(rows), int(columns)


def generate_without_beams(loaded: LoadedModel, inputs: Inputs, **options: Any) -> Tensor:
    if options.get("num_beams", 1) > 1:
        raise ValueError("beam: transformers' beam search fails with Llama 4 and a photo: leave it out")
    return generate_prompted(loaded, inputs, **options)


SPECS = (
    FamilySpec(
        name="Llama 4",
        architectures=("Llama4ForConditionalGeneration",),
        layer="vision_model.model.layers[-1]",
        grid="24 x 24 a tile of 336 px",
        tokenizer="byte-level BPE",
        memory="220 GB (Scout, bfloat16)",
        vision_tower_and_layer=last_block,
        capabilities=Capabilities(grid_follows_image=True, pixels_in_one_dimension=True),
        tiling=Tiling(tile_grid, prefix_after_patches=True),
        generate=generate_without_beams,
    ),
)
