"""Gemma 3 (Google, 2025): a SigLIP ViT whose patches are averaged in squares, and a Gemma in which they see each other."""

from __future__ import annotations

from torch import Tensor, nn

from ...inputs import Inputs
from ..base_model import tower_blocks
from ..family_spec import FamilySpec
from ..prompted_model import PromptedModel


class Gemma3(PromptedModel):
    """The last block of the ViT; 4 x 4 of its patches are one token of the prompt. Photos are seen whole, never panned."""

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_tower
        return tower, tower_blocks(tower)[-1]

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """Token types: 1 for the photo's tokens, which attend in both directions."""
        return super().forward_kwargs(inputs, ids) | {"token_type_ids": (ids == self.model.config.image_token_id).long()}


SPECS = (
    FamilySpec(
        name="Gemma 3",
        task="captioning, vqa",
        architectures=("Gemma3ForConditionalGeneration",),
        adapter=Gemma3,
        layer="model.vision_tower.encoder.layers[-1]",
        grid="64 x 64 at 896 px",
        tokenizer="SentencePiece",
        memory="9 GB (4B, bfloat16)",
    ),
)
