"""BLIP-2 (Li et al., ICML 2023) and InstructBLIP (Dai et al., NeurIPS 2023): a ViT, a Q-Former, a language model."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ...inputs import Inputs
from ..family_spec import Capabilities, FamilySpec
from ..prompted_model import PromptedModel, encoder_decoder_logits, generate_with_encoder, start_and_forced_ids

Q_FORMER = ("qformer_input_ids", "qformer_attention_mask")


class BLIP2(PromptedModel):
    """The ViT's last block. The Q-Former's queries mix its cells, so every image token has seen all of the photo."""

    caption_request = "a photo of"

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return self.model.vision_model, self.model.vision_model.encoder.layers[-1]

    def prompt_template(self, asked: str) -> str:
        return asked if asked == self.caption_request else f"Question: {asked} Answer:"

    def split_processor_output(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        return values["pixel_values"], {}

    @property
    def _is_encoder_decoder(self) -> bool:
        """Whether the language model is a T5; OPT and Vicuna have no encoder."""
        return not self.model.config.use_decoder_only_language_model

    def decoder_prefix_ids(self) -> list[int]:
        return start_and_forced_ids(self.model) if self._is_encoder_decoder else []

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        if self._is_encoder_decoder:
            return encoder_decoder_logits(self, inputs, ids)
        return super().teacher_forced_logits(inputs, ids)

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        if self._is_encoder_decoder:
            return generate_with_encoder(self, inputs, **options)
        assert inputs.question_ids is not None
        kwargs = self.forward_kwargs(inputs, inputs.question_ids)
        generated: Tensor = self.model.generate(input_ids=inputs.question_ids, **kwargs, **options)
        prompt = inputs.question_ids.shape[1]
        repeated = generated.shape[1] >= prompt and torch.equal(generated[:, :prompt], inputs.question_ids)
        return generated[:, prompt:] if repeated else generated


class InstructBLIP(BLIP2):
    """The same, but the Q-Former reads the question, too: in tokens of its own, which shares of words leave out."""

    caption_request = "Write a short description of the photo."
    capabilities = Capabilities(tower_shared_by_questions=False)

    def prompt_template(self, asked: str) -> str:
        return asked

    def split_processor_output(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        return values["pixel_values"], {name: values[name] for name in Q_FORMER}

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        return super().batch_key(image, question), len(self.processor.qformer_tokenizer(self.prompt_text(question)).input_ids)


SPECS = (
    FamilySpec(
        name="BLIP-2",
        task="captioning, vqa",
        architectures=("Blip2ForConditionalGeneration",),
        adapter=BLIP2,
        layer="vision_model.encoder.layers[-1]",
        grid="16 x 16 at 224 px",
        tokenizer="byte-level BPE (OPT) or SentencePiece (T5)",
        memory="7.5 GB (OPT-2.7B, float16)",
    ),
    FamilySpec(
        name="InstructBLIP",
        task="captioning, vqa",
        architectures=("InstructBlipForConditionalGeneration",),
        adapter=InstructBLIP,
        layer="vision_model.encoder.layers[-1]",
        grid="16 x 16 at 224 px",
        tokenizer="SentencePiece",
        memory="16 GB (Vicuna-7B, float16)",
    ),
)
