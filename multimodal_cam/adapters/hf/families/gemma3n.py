"""Gemma 3n (Google, 2025): MobileNetV5, a convolutional network, and a Gemma with inputs of its own for every layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...inputs import Inputs
from ..family_spec import FamilySpec
from ..prompted_model import PromptedModel


class Gemma3n(PromptedModel):
    """`msfa`, MobileNetV5's fusion of its last two scales. The model multiplies its output in place: the head gets a copy.

    Every layer of the language model has embeddings of its own beside the first one's: the shares of the question's words are of
    the first one's only.
    """

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_tower
        return tower, tower.timm_model.msfa

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        return super().forward_kwargs(inputs, ids) | {"token_type_ids": torch.zeros_like(ids)}


SPECS = (
    FamilySpec(
        name="Gemma 3n",
        task="captioning, vqa",
        architectures=("Gemma3nForConditionalGeneration",),
        adapter=Gemma3n,
        layer="model.vision_tower.timm_model.msfa",
        grid="16 x 16 at 768 px",
        tokenizer="SentencePiece",
        memory="11 GB (E2B, bfloat16)",
    ),
)
