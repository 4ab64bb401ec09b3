"""GIT (Wang et al., TMLR 2022): one decoder reads the patches, then the question if there is one, then its own words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...inputs import Inputs
from ..base_model import HuggingFace
from ..family_spec import FamilySpec


class GIT(HuggingFace):
    """`GitForCausalLM`. Its logits begin with those of the image's tokens: only the last `t` are the text's."""

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.git.image_encoder
        return tower, tower.vision_model.encoder.layers[-1]

    def question_embedding_layer(self) -> nn.Module | None:
        layer: nn.Module = self.model.get_input_embeddings()
        return layer

    def prompt_ids(self, question: str | None, inputs: Inputs) -> list[int] | None:
        start: int = self.tokenizer.cls_token_id
        return [start, *(self.tokenizer(question, add_special_tokens=False).input_ids if question else [])]

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        assert inputs.question_ids is not None
        said = torch.cat([inputs.question_ids, ids[:, :-1]], dim=1)
        logits: Tensor = self.model(
            pixel_values=inputs.pixels, input_ids=said, use_cache=False, logits_to_keep=ids.shape[1]
        ).logits
        return logits

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        assert inputs.question_ids is not None
        said: Tensor = self.model.generate(pixel_values=inputs.pixels, input_ids=inputs.question_ids, **options)
        return said[:, inputs.question_ids.shape[1] :]


SPECS = (
    FamilySpec(
        name="GIT",
        task="captioning, vqa",
        architectures=("GitForCausalLM",),
        adapter=GIT,
        layer="git.image_encoder.vision_model.encoder.layers[-1]",
        grid="14 x 14 at 224 px",
        tokenizer="WordPiece",
        memory="0.7 GB (base, float32)",
    ),
)
