"""Florence-2 (Xiao et al., CVPR 2024): a DaViT, convolutions with window and channel attention, and a BART."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...inputs import Inputs
from ..decoding import encoder_decoder_logits, generate_with_encoder
from ..family_spec import FamilySpec
from ..loaded_model import LoadedModel
from ..prompts import JointPrompt


def last_stage(model: Any) -> tuple[nn.Module, nn.Module]:
    """The last block of the DaViT's last stage, `(b, c, h, w)`; the projector adds the mean of all cells as a token."""
    tower = model.model.vision_tower
    return tower, tower.blocks[-1][-1]


def run_tower(loaded: LoadedModel, inputs: Inputs) -> None:
    loaded.tower(inputs.pixels)


def request_alone(_processor: Any, asked: str) -> str:
    """The processor itself puts the image's tokens in front."""
    return asked


SPECS = (
    FamilySpec(
        name="Florence-2",
        architectures=("Florence2ForConditionalGeneration",),
        layer="model.vision_tower.blocks[-1][-1]",
        grid="24 x 24 at 768 px",
        tokenizer="byte-level BPE",
        memory="0.9 GB (base, float32)",
        vision_tower_and_layer=last_stage,
        prompt=JointPrompt(request="<CAPTION>", template=request_alone, chat_template=False),
        run_tower=run_tower,
        logits=encoder_decoder_logits,
        generate=generate_with_encoder,
    ),
)
