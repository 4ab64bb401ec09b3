"""PaliGemma (Beyer et al., 2024): a SigLIP ViT without CLS, and a Gemma that reads image and question in both directions."""

from __future__ import annotations

import torch
from torch import Tensor

from ...inputs import Inputs
from ..family_spec import FamilySpec
from ..loaded_model import LoadedModel
from ..prompts import JointPrompt
from .gemma3 import last_block


def token_types(_loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
    """0 in the prompt, which attends in both directions, 1 in the text."""
    assert inputs.question_ids is not None
    types = (torch.arange(ids.shape[1], device=ids.device) >= inputs.question_ids.shape[1]).long()
    return {"token_type_ids": types.expand(len(ids), -1)}


SPECS = (
    FamilySpec(
        name="PaliGemma",
        architectures=("PaliGemmaForConditionalGeneration",),
        layer="model.vision_tower.encoder.layers[-1]",
        grid="16 x 16 at 224 px",
        tokenizer="SentencePiece",
        memory="6 GB (3B, bfloat16)",
        vision_tower_and_layer=last_block,
        prompt=JointPrompt(request="caption en"),
        token_kwargs=token_types,
    ),
)
