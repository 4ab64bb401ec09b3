"""Gemma 3 (Google, 2025): a SigLIP ViT whose patches are averaged in squares, and a Gemma in which they see each other."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...inputs import Inputs
from ..family_spec import FamilySpec
from ..loaded_model import LoadedModel
from ..vision_tower import tower_blocks


def last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    """The ViT's last block; 4 x 4 of its patches are one token of the prompt. Images are seen whole, never panned."""
    tower = model.model.vision_tower
    return tower, tower_blocks(tower)[-1]


def token_types(loaded: LoadedModel, _inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
    """1 for the image's tokens, which attend in both directions."""
    return {"token_type_ids": (ids == loaded.model.config.image_token_id).long()}


SPECS = (
    FamilySpec(
        name="Gemma 3",
        architectures=("Gemma3ForConditionalGeneration",),
        layer="model.vision_tower.encoder.layers[-1]",
        grid="64 x 64 at 896 px",
        tokenizer="SentencePiece",
        memory="9 GB (4B, bfloat16)",
        vision_tower_and_layer=last_block,
        token_kwargs=token_types,
    ),
)
