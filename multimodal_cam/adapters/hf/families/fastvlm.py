"""FastVLM (Vasu et al., CVPR 2025): FastViTHD, a convolutional network with attention at its end, and a Qwen2."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..family_spec import FamilySpec


def last_convolution(model: Any) -> tuple[nn.Module, nn.Module]:
    """`final_conv`; its cells are the language model's image tokens, one each."""
    tower = model.model.vision_tower
    return tower, tower.timm_model.final_conv


SPECS = (
    FamilySpec(
        name="FastVLM",
        architectures=("FastVlmForConditionalGeneration",),
        layer="model.vision_tower.timm_model.final_conv",
        grid="16 x 16 at 1024 px",
        tokenizer="byte-level BPE",
        memory="1.5 GB (0.5B, bfloat16)",
        vision_tower_and_layer=last_convolution,
    ),
)
