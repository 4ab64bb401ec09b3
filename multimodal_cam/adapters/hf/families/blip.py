"""BLIP (Li et al., ICML 2022): captioning, and question answering, whose own forward returns no logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...inputs import Inputs
from ..base_model import HuggingFace, shift_right
from ..family_spec import FamilySpec


class BLIPModel(HuggingFace):
    """The last of the ViT's blocks is the layer, the text decoder's vocabulary layer the readout."""

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return self.model.vision_model, self.model.vision_model.encoder.layers[-1]

    def output_projection(self) -> nn.Module | None:
        layer: nn.Module = self.model.text_decoder.get_output_embeddings()
        return layer

    @property
    def _start_id(self) -> int:
        start: int = self.model.config.text_config.bos_token_id
        return start

    def length_limits(self) -> dict[str, Any]:
        """Its generate reads the text decoder's settings, not its own."""
        return super().length_limits() or {"max_length": self.model.generation_config.max_length}

    def stop_ids(self) -> set[int]:
        return super().stop_ids() | {self.model.config.text_config.sep_token_id, self.model.config.text_config.pad_token_id}


class BLIPCaptioner(BLIPModel):
    """`BlipForConditionalGeneration`: cross-attention from the words to the patches and CLS."""

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=inputs.pixels, input_ids=shift_right(self._start_id, ids)).logits
        return logits

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        said: Tensor = self.model.generate(pixel_values=inputs.pixels, **options)
        return said[:, 1:]


class BLIPAnswerer(BLIPModel):
    """`BlipForQuestionAnswering`: the question reads the photo, the answer reads the question."""

    task = "vqa"

    def question_embedding_layer(self) -> nn.Module | None:
        layer: nn.Module = self.model.text_encoder.get_input_embeddings()
        return layer

    def prompt_ids(self, question: str | None, inputs: Inputs) -> list[int] | None:
        if question is None:
            raise ValueError(f"{self.name} answers questions: pass question=")
        ids: list[int] = self.tokenizer(question).input_ids
        return ids

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        assert inputs.question_ids is not None
        image = self.model.vision_model(pixel_values=inputs.pixels).last_hidden_state
        seen = torch.ones(image.shape[:-1], dtype=torch.long, device=image.device)
        asked = self.model.text_encoder(
            input_ids=inputs.question_ids, encoder_hidden_states=image, encoder_attention_mask=seen
        ).last_hidden_state
        answer = self.model.text_decoder(input_ids=shift_right(self._start_id, ids), encoder_hidden_states=asked)
        logits: Tensor = answer.logits
        return logits

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        assert inputs.question_ids is not None
        said: Tensor = self.model.generate(pixel_values=inputs.pixels, input_ids=inputs.question_ids, **options)
        return said[:, 1:]


SPECS = (
    FamilySpec(
        name="BLIP captioning",
        task="captioning",
        architectures=("BlipForConditionalGeneration",),
        adapter=BLIPCaptioner,
        layer="vision_model.encoder.layers[-1]",
        grid="24 x 24 at 384 px",
        tokenizer="WordPiece",
        memory="1 GB (base, float32)",
    ),
    FamilySpec(
        name="BLIP VQA",
        task="vqa",
        architectures=("BlipForQuestionAnswering",),
        adapter=BLIPAnswerer,
        layer="vision_model.encoder.layers[-1]",
        grid="24 x 24 at 384 px",
        tokenizer="WordPiece",
        memory="1.5 GB (base, float32)",
    ),
)
