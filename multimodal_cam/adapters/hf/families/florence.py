"""Florence-2 (Xiao et al., CVPR 2024): a DaViT, convolutions with window and channel attention, and a BART."""

from __future__ import annotations

from torch import nn

from ...inputs import Inputs
from ..family_spec import FamilySpec
from ..prompted_model import EncoderDecoderModel


class Florence(EncoderDecoderModel):
    """The last block of the DaViT's last stage, `(b, c, h, w)` as it is; the projector adds the mean of all cells as a token."""

    caption_request = "<CAPTION>"

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_tower
        return tower, tower.blocks[-1][-1]

    def prompt_text(self, question: str | None) -> str:
        return self.caption_request if question is None else question  # the processor puts the image's tokens in front

    def run_tower(self, inputs: Inputs) -> None:
        self.tower(inputs.pixels)


SPECS = (
    FamilySpec(
        name="Florence-2",
        task="captioning, vqa",
        architectures=("Florence2ForConditionalGeneration",),
        adapter=Florence,
        layer="model.vision_tower.blocks[-1][-1]",
        grid="24 x 24 at 768 px",
        tokenizer="byte-level BPE",
        memory="0.9 GB (base, float32)",
    ),
)
