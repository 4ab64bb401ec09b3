"""LLaVA 1.5 (Liu et al., CVPR 2024) and its kin: a CLIP or SigLIP ViT, a projector, a language model."""

from __future__ import annotations

from torch import nn

from ..base_model import tower_blocks
from ..prompted_model import PromptedModel


class LLaVA(PromptedModel):
    """The block that `vision_feature_layer` names, the last but one as a rule: those behind it never reach the words."""

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower, used = self.model.model.vision_tower, self.model.config.vision_feature_layer
        if not isinstance(used, int):
            raise ValueError(
                f"vision_feature_layer: this LLaVA reads {len(used)} layers at once, {used}, and no one of them holds all that "
                "its words see: only models that read one are supported"
            )
        return tower, tower_blocks(tower)[used if used < 0 else used - 1]  # hidden state 0 is what the first block gets

    def prompt_template(self, asked: str) -> str:
        return f"USER: {self.processor.image_token}\n{asked} ASSISTANT:"
