"""GIT (Wang et al., TMLR 2022): one decoder reads the patches, then the question if there is one, then its own words."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..family_spec import FamilySpec
from ..image_input import pixels_only
from ..loaded_model import LoadedModel
from ..prompts import SeparatePrompt


def last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    tower = model.git.image_encoder
    return tower, tower.vision_model.encoder.layers[-1]


def question_ids(loaded: LoadedModel, question: str | None) -> list[int]:
    start: int = loaded.tokenizer.cls_token_id
    return [start, *(loaded.tokenizer(question, add_special_tokens=False).input_ids if question else [])]


SPECS = (
    FamilySpec(
        name="GIT",
        architectures=("GitForCausalLM",),
        layer="git.image_encoder.vision_model.encoder.layers[-1]",
        grid="14 x 14 at 224 px",
        tokenizer="WordPiece",
        memory="0.7 GB (base, float32)",
        vision_tower_and_layer=last_block,
        prompt=SeparatePrompt(question_ids),
        split_output=pixels_only,
    ),
)
