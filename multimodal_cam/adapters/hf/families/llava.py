"""LLaVA 1.5 (Liu et al., CVPR 2024) and its kin: a CLIP or SigLIP ViT, a projector, a language model."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..family_spec import FamilySpec
from ..prompts import JointPrompt
from ..vision_tower import tower_blocks


def selected_feature_layer(model: Any) -> tuple[nn.Module, nn.Module]:
    """The block that `vision_feature_layer` names, as a rule the last but one: those behind it never reach the words.

    Raises ValueError where that names several.
    """
    tower, used = model.model.vision_tower, model.config.vision_feature_layer
    if not isinstance(used, int):
        raise ValueError(
            f"vision_feature_layer: this LLaVA reads {len(used)} layers at once, {used}, and no one of them holds all that "
            "its words see: only models that read one are supported"
        )
    return tower, tower_blocks(tower)[used if used < 0 else used - 1]  # hidden state 0 is what the first block gets


def chat_of_one_turn(processor: Any, asked: str) -> str:
    return f"USER: {processor.image_token}\n{asked} ASSISTANT:"


CHAT_OF_ONE_TURN = JointPrompt(template=chat_of_one_turn)
SPECS = (
    FamilySpec(
        name="LLaVA 1.5",
        architectures=("LlavaForConditionalGeneration",),
        layer="model.vision_tower.encoder.layers[vision_feature_layer]",
        grid="24 x 24 at 336 px",
        tokenizer="SentencePiece",
        memory="14 GB (7B, float16)",
        vision_tower_and_layer=selected_feature_layer,
        prompt=CHAT_OF_ONE_TURN,
    ),
)
