"""Gemma 3n (Google, 2025): MobileNetV5, a convolutional network, and a Gemma with inputs of its own for every layer.

Every layer of the language model has embeddings of its own beside the first one's: the shares of the question's words are of
the first one's only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...inputs import Inputs
from ..family_spec import FamilySpec
from ..loaded_model import LoadedModel


def scale_fusion(model: Any) -> tuple[nn.Module, nn.Module]:
    """`msfa`, the fusion of the last two scales. The model multiplies its output in place: the head gets a copy."""
    tower = model.model.vision_tower
    return tower, tower.timm_model.msfa


def token_types(_loaded: LoadedModel, _inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
    return {"token_type_ids": torch.zeros_like(ids)}


SPECS = (
    FamilySpec(
        name="Gemma 3n",
        architectures=("Gemma3nForConditionalGeneration",),
        layer="model.vision_tower.timm_model.msfa",
        grid="16 x 16 at 768 px",
        tokenizer="SentencePiece",
        memory="11 GB (E2B, bfloat16)",
        vision_tower_and_layer=scale_fusion,
        token_kwargs=token_types,
    ),
)
