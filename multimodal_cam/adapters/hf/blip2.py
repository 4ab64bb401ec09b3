"""BLIP-2 (Li et al., ICML 2023) and InstructBLIP (Dai et al., NeurIPS 2023): a ViT, a Q-Former, a language model."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..inputs import Inputs
from .prompted import Encoded, Prompted

Q_FORMER = ("qformer_input_ids", "qformer_attention_mask")


class BLIP2(Encoded):
    """The ViT's last block. The Q-Former's queries mix its cells, so every image token has seen all of the photo."""

    request = "a photo of"

    def places(self) -> tuple[nn.Module, nn.Module]:
        return self.model.vision_model, self.model.vision_model.encoder.layers[-1]

    def template(self, asked: str) -> str:
        return asked if asked == self.request else f"Question: {asked} Answer:"

    def more(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        return values["pixel_values"], {}

    @property
    def _encoded(self) -> bool:
        """Whether the language model is a T5; OPT and Vicuna have no encoder."""
        return not self.model.config.use_decoder_only_language_model

    def opening(self) -> list[int]:
        return super().opening() if self._encoded else []

    def read(self, inputs: Inputs, ids: Tensor) -> Tensor:
        if self._encoded:  # T5 keeps no logits back
            return super().read(inputs, ids)[:, -ids.shape[1] :]
        return Prompted.read(self, inputs, ids)

    def say(self, inputs: Inputs, **options: Any) -> Tensor:
        if self._encoded:
            return super().say(inputs, **options)
        assert inputs.question_ids is not None
        said: Tensor = self.model.generate(input_ids=inputs.question_ids, **self.given(inputs, inputs.question_ids), **options)
        prompt = inputs.question_ids.shape[1]
        repeated = said.shape[1] >= prompt and torch.equal(said[:, :prompt], inputs.question_ids)
        return said[:, prompt:] if repeated else said


class InstructBLIP(BLIP2):
    """The same, but the Q-Former reads the question, too: in tokens of its own, which shares of words leave out."""

    request = "Write a short description of the photo."
    shares = False

    def template(self, asked: str) -> str:
        return asked

    def more(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        return values["pixel_values"], {name: values[name] for name in Q_FORMER}

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        return super().batch_key(image, question), len(self.processor.qformer_tokenizer(self.wording(question)).input_ids)
