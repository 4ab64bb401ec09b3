"""Qwen2-VL (Wang et al., 2024), Qwen2.5-VL, Qwen3.5: a ViT for photos of any size; patches come packed, in blocks of 2 x 2."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ...inputs import Inputs
from ..family_spec import Capabilities, FamilySpec
from ..prompted_model import PromptedModel
from ..token_views import OrderedTokenView


class Qwen2VL(PromptedModel):
    """The ViT's last block; its merger makes one token of the prompt out of four patches."""

    capabilities = Capabilities(grid_follows_image=True)

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.visual
        return tower, tower.blocks[-1]

    def split_processor_output(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        return values["pixel_values"][None], {"image_grid_thw": values["image_grid_thw"]}

    def processed_image(self, values: Mapping[str, Tensor]) -> Tensor:
        merge, side = self.image_processor.merge_size, self.image_processor.patch_size
        _, h, w = values["image_grid_thw"][0].tolist()
        patches = values["pixel_values"].float().view(h // merge, w // merge, merge, merge, 3, -1, side, side)[:, :, :, :, :, 0]
        return patches.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, h * side, w * side)

    def run_tower(self, inputs: Inputs) -> None:
        self.tower(inputs.pixels.flatten(0, 1), grid_thw=inputs.extra_inputs["image_grid_thw"])

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> OrderedTokenView:
        _, h, w = inputs.extra_inputs["image_grid_thw"][0].tolist()
        merge = self.image_processor.merge_size
        rows, columns = torch.arange(h)[:, None], torch.arange(w)[None]
        block = self._block_order(h // merge, w // merge, layer)[rows // merge, columns // merge]
        return OrderedTokenView(shape=(h, w), order=(block * merge**2 + rows % merge * merge + columns % merge).flatten())

    def _block_order(self, h: int, w: int, layer: nn.Module) -> Tensor:
        """Where each of the `(h, w)` blocks stands in the sequence."""
        return torch.arange(h * w).view(h, w)

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        kwargs = super().forward_kwargs(inputs, ids)
        kinds = (ids == self.model.config.image_token_id).long()
        return kwargs | {"pixel_values": inputs.pixels.flatten(0, 1), "mm_token_type_ids": kinds}

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        with self._restored_rope_deltas():
            return super().teacher_forced_logits(inputs, ids)

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        with self._restored_rope_deltas():
            return super().generate_ids(inputs, **options)

    @contextmanager
    def _restored_rope_deltas(self) -> Iterator[None]:
        """The model keeps how far positions were moved by its last photo: afterwards it is what it was."""
        before = self.model.model.rope_deltas
        try:
            yield
        finally:
            self.model.model.rope_deltas = before

    def cache_key(self, inputs: Inputs) -> Hashable:
        return super().cache_key(inputs), tuple(inputs.extra_inputs["image_grid_thw"][0].tolist())


class Qwen25VL(Qwen2VL):
    """Qwen2.5-VL (Bai et al., 2025): inside the tower the blocks stand window by window, for attention within windows."""

    def _block_order(self, h: int, w: int, layer: nn.Module) -> Tensor:
        found = super()._block_order(h, w, layer)
        tower: Any = self.tower
        if not any(layer is part for part in tower.blocks.modules()):
            return found
        vision = self.model.config.vision_config
        side = vision.window_size // vision.spatial_merge_size // vision.patch_size
        rows, columns = torch.arange(h)[:, None], torch.arange(w)[None]
        window = rows // side * w + columns // side
        places: Tensor = (window * h * w + found).flatten().argsort().argsort().view(h, w)
        return places


SPECS = (
    FamilySpec(
        name="Qwen2-VL",
        task="captioning, vqa",
        architectures=("Qwen2VLForConditionalGeneration",),
        adapter=Qwen2VL,
        layer="model.visual.blocks[-1]",
        grid="H/14 x W/14, as the photo",
        tokenizer="byte-level BPE",
        memory="4.5 GB (2B, bfloat16)",
    ),
    FamilySpec(
        name="Qwen2.5-VL",
        task="captioning, vqa",
        architectures=("Qwen2_5_VLForConditionalGeneration",),
        adapter=Qwen25VL,
        layer="model.visual.blocks[-1]",
        grid="H/14 x W/14, as the photo",
        tokenizer="byte-level BPE",
        memory="7.5 GB (3B, bfloat16)",
    ),
    FamilySpec(
        name="Qwen3.5",
        task="captioning, vqa",
        architectures=("Qwen3_5ForConditionalGeneration",),
        adapter=Qwen2VL,
        layer="model.visual.blocks[-1]",
        grid="H/16 x W/16, as the photo",
        tokenizer="byte-level BPE",
        memory="2 GB a billion weights (bfloat16)",
    ),
)
