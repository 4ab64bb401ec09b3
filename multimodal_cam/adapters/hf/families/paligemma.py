"""PaliGemma (Beyer et al., 2024): a SigLIP ViT without CLS, and a Gemma that reads image and question in both directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...inputs import Inputs
from ..base_model import tower_blocks
from ..family_spec import FamilySpec
from ..prompted_model import PromptedModel


class PaliGemma(PromptedModel):
    """The last block of the ViT; each patch is one token of the prompt."""

    caption_request = "caption en"

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_tower
        return tower, tower_blocks(tower)[-1]

    def prompt_template(self, asked: str) -> str:
        return f"{self.processor.image_token}{asked}"

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """Token types: 0 in the prompt, which attends in both directions, 1 in the text."""
        assert inputs.question_ids is not None
        types = (torch.arange(ids.shape[1], device=ids.device) >= inputs.question_ids.shape[1]).long()
        return super().forward_kwargs(inputs, ids) | {"token_type_ids": types.expand(len(ids), -1)}


SPECS = (
    FamilySpec(
        name="PaliGemma",
        task="captioning, vqa",
        architectures=("PaliGemmaForConditionalGeneration",),
        adapter=PaliGemma,
        layer="model.vision_tower.encoder.layers[-1]",
        grid="16 x 16 at 224 px",
        tokenizer="SentencePiece",
        memory="6 GB (3B, bfloat16)",
    ),
)
