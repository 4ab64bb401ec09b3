"""PaliGemma (Beyer et al., 2024): a SigLIP ViT without CLS, and a Gemma that reads image and question in both directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..inputs import Inputs
from .base import blocks
from .prompted import Prompted


class PaliGemma(Prompted):
    """The last block of the ViT; each patch is one token of the prompt."""

    request = "caption en"

    def places(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_tower
        return tower, blocks(tower)[-1]

    def template(self, asked: str) -> str:
        return f"{self.processor.image_token}{asked}"

    def given(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """Token types: 0 in the prompt, which attends in both directions, 1 in the text."""
        assert inputs.question_ids is not None
        types = (torch.arange(ids.shape[1], device=ids.device) >= inputs.question_ids.shape[1]).long()
        return super().given(inputs, ids) | {"token_type_ids": types.expand(len(ids), -1)}
