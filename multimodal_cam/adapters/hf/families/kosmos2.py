"""Kosmos-2 (Peng et al., ICLR 2024): a CLIP ViT, a resampler with 64 latents, a language model that also writes boxes."""

from __future__ import annotations

from torch import Tensor, nn

from ...inputs import Inputs
from ..family_spec import FamilySpec
from ..prompted_model import PromptedModel


class Kosmos2(PromptedModel):
    """The ViT's last block. The latents mix its cells, so every image token has seen all of the photo.

    `question="<grounding> An image of"` and other prompts that begin with a tag are taken as they are: then the model says where
    things are, too. Its tags and `<patch_index_0044>` are tokens, but no words.
    """

    caption_request = "An image of"

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.vision_model
        return tower, tower.model.encoder.layers[-1]

    def prompt_template(self, asked: str) -> str:
        return asked if asked == self.caption_request or asked.startswith("<") else f"Question: {asked} Answer:"

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """The processor's mask says where in the prompt the latents stand; none stand behind it."""
        kwargs = super().forward_kwargs(inputs, ids)
        mask = kwargs["image_embeds_position_mask"]
        return kwargs | {"image_embeds_position_mask": nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]))}


SPECS = (
    FamilySpec(
        name="Kosmos-2",
        task="captioning, vqa",
        architectures=("Kosmos2ForConditionalGeneration",),
        adapter=Kosmos2,
        layer="vision_model.model.encoder.layers[-1]",
        grid="16 x 16 at 224 px",
        tokenizer="SentencePiece",
        memory="6.7 GB (1.7B, float32)",
    ),
)
