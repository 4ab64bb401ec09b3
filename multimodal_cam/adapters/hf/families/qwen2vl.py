"""Qwen2-VL (Wang et al., 2024), Qwen2.5-VL, Qwen3.5: a ViT for images of any size; patches come packed, in blocks of 2 x 2.

The layer is the ViT's last block; its merger makes one token of the prompt out of four patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ...inputs import Inputs
from ..decoding import generate_prompted, prompted_logits
from ..family_spec import Capabilities, FamilySpec
from ..image_input import image_processor_output
from ..loaded_model import LoadedModel
from ..token_views import OrderedTokenView

GRID = "image_grid_thw"  # extra input: frames, rows and columns of patches of each image


def last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    tower = model.model.visual
    return tower, tower.blocks[-1]


# ---- images ------------------------------------------------------------------------------------------------------------------


def patches_and_grid(_loaded: LoadedModel, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    return values["pixel_values"][None], {GRID: values[GRID]}


def unnormalized_image(loaded: LoadedModel, image: Image, _question: str | None) -> Tensor:
    values = image_processor_output(loaded, image)
    merge, side = loaded.image_processor.merge_size, loaded.image_processor.patch_size
    _, h, w = values[GRID][0].tolist()
    patches = values["pixel_values"].float().view(h // merge, w // merge, merge, merge, 3, -1, side, side)[:, :, :, :, :, 0]
    return patches.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, h * side, w * side)


def run_tower(loaded: LoadedModel, inputs: Inputs) -> None:
    loaded.tower(inputs.pixels.flatten(0, 1), grid_thw=inputs.extra_inputs[GRID])


BlockOrder = Callable[[LoadedModel, int, int, nn.Module], Tensor]  # where each of (h, w) blocks stands in a layer's sequence


def reading_order(_loaded: LoadedModel, h: int, w: int, _layer: nn.Module) -> Tensor:
    return torch.arange(h * w).view(h, w)


def window_order(loaded: LoadedModel, h: int, w: int, layer: nn.Module) -> Tensor:
    """Qwen2.5-VL (Bai et al., 2025): inside the tower the blocks stand window by window, for attention within windows."""
    order = reading_order(loaded, h, w, layer)
    tower: Any = loaded.tower
    if not any(layer is part for part in tower.blocks.modules()):
        return order
    vision = loaded.model.config.vision_config
    side = vision.window_size // vision.spatial_merge_size // vision.patch_size
    rows, columns = torch.arange(h)[:, None], torch.arange(w)[None]
    window = rows // side * w + columns // side
    places: Tensor = (window * h * w + order).flatten().argsort().argsort().view(h, w)
    return places


def merged_blocks_view(
    loaded: LoadedModel, inputs: Inputs, layer: nn.Module, block_order: BlockOrder = reading_order
) -> OrderedTokenView:
    """The patches' grid; each block of patches that is one token stands together."""
    _, h, w = inputs.extra_inputs[GRID][0].tolist()
    merge = loaded.image_processor.merge_size
    rows, columns = torch.arange(h)[:, None], torch.arange(w)[None]
    block = block_order(loaded, h // merge, w // merge, layer)[rows // merge, columns // merge]
    return OrderedTokenView(shape=(h, w), order=(block * merge**2 + rows % merge * merge + columns % merge).flatten())


# ---- text --------------------------------------------------------------------------------------------------------------------


def token_types(loaded: LoadedModel, _inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
    return {"mm_token_type_ids": (ids == loaded.model.config.image_token_id).long()}


def logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    with _restored_rope_deltas(loaded):
        return prompted_logits(loaded, inputs, ids)


def generate(loaded: LoadedModel, inputs: Inputs, **options: Any) -> Tensor:
    with _restored_rope_deltas(loaded):
        return generate_prompted(loaded, inputs, **options)


@contextmanager
def _restored_rope_deltas(loaded: LoadedModel) -> Iterator[None]:
    """The model keeps how far positions were moved by its last image: afterwards it is what it was."""
    before = loaded.model.model.rope_deltas
    try:
        yield
    finally:
        loaded.model.model.rope_deltas = before


QWEN2 = FamilySpec(
    name="Qwen2-VL",
    architectures=("Qwen2VLForConditionalGeneration",),
    layer="model.visual.blocks[-1]",
    grid="H/14 x W/14, as the photo",
    tokenizer="byte-level BPE",
    memory="4.5 GB (2B, bfloat16)",
    vision_tower_and_layer=last_block,
    capabilities=Capabilities(grid_follows_image=True, pixels_in_one_dimension=True),
    grid_inputs=(GRID,),
    split_output=patches_and_grid,
    unnormalized_image=unnormalized_image,
    run_tower=run_tower,
    layer_view=merged_blocks_view,
    token_kwargs=token_types,
    logits=logits,
    generate=generate,
)
SPECS = (
    QWEN2,
    replace(
        QWEN2,
        name="Qwen2.5-VL",
        architectures=("Qwen2_5_VLForConditionalGeneration",),
        memory="7.5 GB (3B, bfloat16)",
        layer_view=partial(merged_blocks_view, block_order=window_order),
    ),
    replace(
        QWEN2,
        name="Qwen3.5",
        architectures=("Qwen3_5ForConditionalGeneration",),
        grid="H/16 x W/16, as the photo",
        memory="2 GB a billion weights (bfloat16)",
    ),
)
