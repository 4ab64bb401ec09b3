"""ViLT (Kim et al., ICML 2021): words and patches in one transformer, an answer out of a list."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ....core.hooks import overridden_output
from ....core.spans import Span
from ...contract import Unknown
from ...inputs import Inputs
from ...labels import Labels
from ..base_model import HuggingFace
from ..family_spec import Capabilities, FamilySpec
from ..token_views import TokenView


class ViLT(HuggingFace):
    """`ViltForQuestionAnswering`. Its answer reads CLS only, so behind the last block no patch counts any more.

    The layer is therefore the first norm of the last block. The whole network runs, overridden there: the residual stream
    passes it by. ViLT shuffles its patches; here they stand in reading order, and none is left out. Neither the question's
    tokens nor CLS have a place on the map.
    """

    task = "vqa"
    capabilities = Capabilities(head_runs_alone=False, tower_shared_by_questions=False, question_before_layer=True)
    default_score: str = "logit"
    n_alternatives = 5

    def __init__(self, *parts: Any, **extra: Any) -> None:
        super().__init__(*parts, **extra)
        if any(weight.device.type == "meta" for weight in self.model.vilt.embeddings.parameters()):
            raise ValueError("ViLT's patches are put in order outside its forward: keep its embeddings in memory, not offloaded")
        names = self.model.config.id2label
        self.labels = Labels([names[i] for i in range(len(names))])

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return self.model.vilt, self.model.vilt.encoder.layer[-1].layernorm_before

    def output_projection(self) -> nn.Module | None:
        return None

    def question_embedding_layer(self) -> nn.Module | None:
        layer: nn.Module = self.model.get_input_embeddings()
        return layer

    def prompt_ids(self, question: str | None, inputs: Inputs) -> list[int] | None:
        if question is None:
            raise ValueError(f"{self.name} answers questions: pass question=")
        ids: list[int] = self.tokenizer(question).input_ids
        return ids

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        return super().preprocess(images, questions).expand_images()  # every layer has seen the question, too

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        return super().batch_key(image, question), image.size

    def grid_shape(self, inputs: Inputs) -> tuple[int, int]:
        side = self.model.config.patch_size
        return inputs.pixels.shape[-2] // side, inputs.pixels.shape[-1] // side

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        asked = 0 if inputs.question_ids is None else inputs.question_ids.shape[1]
        return TokenView(asked + 1, shape=self.grid_shape(inputs))

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        return self.layer_activations(self.baseline_inputs(inputs))

    def run_tower(self, inputs: Inputs) -> None:
        self._answer_logits(inputs)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        if activations is None:
            return self.teacher_forced_logits(inputs, ids)
        with overridden_output(self.layer, lambda _: activations):
            return self.teacher_forced_logits(inputs.repeat(len(activations) // len(inputs)), ids)

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        return self._answer_logits(inputs)[:, None].expand(-1, ids.shape[1], -1)

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        return self._answer_logits(inputs)[:, None].argmax(dim=-1)

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """The likeliest answer `(b, 1)`; there are no options."""
        if options:
            raise TypeError(f"{self.name} chooses a label, it does not decode: {', '.join(options)} has no meaning here")
        return self.generate_ids(inputs)

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        return self.labels.encode(texts, self.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.labels.decode(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        return self.labels.spans(ids, text)

    def _answer_logits(self, inputs: Inputs) -> Tensor:
        """The answers' logits `(b, v)`, patches in reading order."""
        assert inputs.question_ids is not None
        pixels = inputs.pixels
        mask = torch.ones(len(pixels), *pixels.shape[-2:], dtype=torch.long, device=pixels.device)
        with torch.random.fork_rng(devices=[]):
            shuffled, _, (places, (_, width)) = self.model.vilt.embeddings.visual_embed(pixels, mask, max_image_length=-1)
        order = (places[..., 0] * width + places[..., 1]).argsort(dim=1)[..., None].expand(-1, -1, shuffled.shape[-1])
        patches = torch.cat([shuffled[:, :1], shuffled[:, 1:].gather(1, order)], dim=1)
        seen = torch.ones(patches.shape[:2], dtype=torch.long, device=pixels.device)
        logits: Tensor = self.model(input_ids=inputs.question_ids, image_embeds=patches, pixel_mask=seen).logits
        return logits


SPECS = (
    FamilySpec(
        name="ViLT",
        task="vqa",
        architectures=("ViltForQuestionAnswering",),
        adapter=ViLT,
        layer="vilt.encoder.layer[-1].layernorm_before",
        grid="H/32 x W/32, as the photo",
        tokenizer="WordPiece; the answer is one of a list",
        memory="0.5 GB (float32)",
    ),
)
