"""Gemma 3 (Google, 2025): a SigLIP ViT whose patches are averaged in squares, and a Gemma in which they see each other."""

from __future__ import annotations

from torch import Tensor, nn

from ..inputs import Inputs
from .base import blocks
from .prompted import Prompted


class Gemma3(Prompted):
    """The last block of the ViT; 4 x 4 of its patches are one token of the prompt. Photos are seen whole, never panned."""

    def places(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_tower
        return tower, blocks(tower)[-1]

    def given(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """Token types: 1 for the photo's tokens, which attend in both directions."""
        return super().given(inputs, ids) | {"token_type_ids": (ids == self.model.config.image_token_id).long()}
