"""Kosmos-2 (Peng et al., ICLR 2024): a CLIP ViT, a resampler with 64 latents, a language model that also writes boxes.

`question="<grounding> An image of"` and other prompts that begin with a tag are taken as they are: then the model says where
things are, too. Its tags and `<patch_index_0044>` are tokens, but no words.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...inputs import Inputs
from ..family_spec import FamilySpec
from ..loaded_model import LoadedModel
from ..prompts import JointPrompt

REQUEST = "An image of"


def last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    """The ViT's last block. The latents mix its cells, so every image token has seen all of the image."""
    return model.vision_model, model.vision_model.model.encoder.layers[-1]


def prompt_template(_processor: Any, asked: str) -> str:
    return asked if asked == REQUEST or asked.startswith("<") else f"Question: {asked} Answer:"


def latents_mask(_loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
    """The processor's mask says where in the prompt the latents stand; none stand behind it."""
    mask = inputs.extra_inputs["image_embeds_position_mask"]
    return {"image_embeds_position_mask": nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]))}


SPECS = (
    FamilySpec(
        name="Kosmos-2",
        architectures=("Kosmos2ForConditionalGeneration",),
        layer="vision_model.model.encoder.layers[-1]",
        grid="16 x 16 at 224 px",
        tokenizer="SentencePiece",
        memory="6.7 GB (1.7B, float32)",
        vision_tower_and_layer=last_block,
        prompt=JointPrompt(request=REQUEST, template=prompt_template),
        token_kwargs=latents_mask,
    ),
)
