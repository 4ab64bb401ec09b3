"""LLaVA 1.5 (Liu et al., CVPR 2024) and its kin: a CLIP or SigLIP ViT, a projector, a language model."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..base_model import tower_blocks
from ..family_spec import FamilySpec
from ..prompted_model import PromptedModel


class LLaVA(PromptedModel):
    """The block that `vision_feature_layer` names, the last but one as a rule: those behind it never reach the words."""

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return selected_feature_layer(self.model)

    def prompt_template(self, asked: str) -> str:
        return chat_of_one_turn(self.processor.image_token, asked)


def selected_feature_layer(model: Any) -> tuple[nn.Module, nn.Module]:
    """The vision tower, and the block of it that `vision_feature_layer` names. Raises ValueError where that names several."""
    tower, used = model.model.vision_tower, model.config.vision_feature_layer
    if not isinstance(used, int):
        raise ValueError(
            f"vision_feature_layer: this LLaVA reads {len(used)} layers at once, {used}, and no one of them holds all that "
            "its words see: only models that read one are supported"
        )
    return tower, tower_blocks(tower)[used if used < 0 else used - 1]  # hidden state 0 is what the first block gets


def chat_of_one_turn(image_token: str, asked: str) -> str:
    """LLaVA 1.5's prompt for a photo and one request."""
    return f"USER: {image_token}\n{asked} ASSISTANT:"


SPECS = (
    FamilySpec(
        name="LLaVA 1.5",
        task="captioning, vqa",
        architectures=("LlavaForConditionalGeneration",),
        adapter=LLaVA,
        layer="model.vision_tower.encoder.layers[vision_feature_layer]",
        grid="24 x 24 at 336 px",
        tokenizer="SentencePiece",
        memory="14 GB (7B, float16)",
    ),
)
