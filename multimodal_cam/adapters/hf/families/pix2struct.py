"""Pix2Struct (Lee et al., ICML 2023): as many patches as fit, in the photo's proportions; questions are written above it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ...inputs import Inputs
from .. import image_placement
from ..base_model import HuggingFace, shift_right, tower_blocks
from ..family_spec import FamilySpec
from ..token_views import TokenView


class Pix2Struct(HuggingFace):
    """`Pix2StructForConditionalGeneration`: the encoder's last block. Patches that only fill up the sequence are left out.

    There are as many as the checkpoint's image processor says; its processor, where it is not told, takes 2048 whatever that is.
    VQA checkpoints (`is_vqa`) see one picture, the question's header and the photo below it: their grid reaches beyond the photo,
    and what the header adds lies outside of it.
    """

    task = "captioning, vqa"

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return self.model.encoder, tower_blocks(self.model.encoder)[-1]

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        said = shift_right(self._start_id, ids)
        logits: Tensor = self.model(flattened_patches=inputs.pixels, decoder_input_ids=said, use_cache=False).logits
        return logits

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        said: Tensor = self.model.generate(flattened_patches=inputs.pixels, **options)
        return said[:, 1:]

    @property
    def _start_id(self) -> int:
        own: int | None = self.model.generation_config.decoder_start_token_id
        return self.model.config.text_config.decoder_start_token_id if own is None else own

    # ---- photos --------------------------------------------------------------------------------------------------------

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        if not self.image_processor.is_vqa:
            return super().preprocess(images, questions)
        if questions is None:
            raise ValueError(f"{self.name} answers questions: pass question=")
        asked = list(zip(images, questions, strict=True))
        pixels = torch.cat([_patches(self._with_header(*row)) for row in asked])
        places = [
            image_placement.measure(*image.size, partial(self._unnormalized_image, question=question))
            for image, question in asked
        ]
        return Inputs(pixels.to(self.device, self.dtype), tuple(places))

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        return image.size, question

    def process_images(self, images: Sequence[Image]) -> tuple[Tensor, dict[str, Tensor]]:
        return _patches(self.image_processor(list(images), return_tensors="pt")), {}

    def _with_header(self, image: Image, question: str, **options: Any) -> Mapping[str, Tensor]:
        """What the image processor makes of a photo with the question above it. Raises OSError where the font is missing."""
        try:
            return dict(self.image_processor([image], header_text=question, return_tensors="pt", **options))
        except OSError as error:
            raise OSError(
                f"{self.name} writes the question on the photo, in a font that transformers fetches from the hub: run "
                "`hf download ybelkada/fonts Arial.TTF` once where there is a network, and bring the hub's cache here"
            ) from error

    def _unnormalized_image(self, image: Image, question: str | None = None) -> Tensor:
        if question is None:
            return super()._unnormalized_image(image)
        return self.processed_image(self._with_header(image, question, do_normalize=False))

    def processed_image(self, values: Mapping[str, Tensor]) -> Tensor:
        patches, side = _patches(values), self.image_processor.patch_size
        squares = patches[0, :, 2:].reshape(*_grid(patches), side["height"], side["width"], 3)
        return squares.permute(4, 0, 2, 1, 3).flatten(1, 2).flatten(2)

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """0, each picture's own mean, in all patches but the header's; each keeps its row and column."""
        rows, columns = _grid(inputs.pixels)
        _, top, _, bottom = inputs.placements[0].frame
        on_photo = top + (bottom - top) * (torch.arange(rows) + 0.5) / rows > 0
        pixels = inputs.pixels.clone()
        pixels[:, on_photo.repeat_interleave(columns), 2:] = 0
        return replace(inputs, pixels=pixels)

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        return (
            self.layer_activations(self.baseline_inputs(inputs))
            if self.image_processor.is_vqa
            else super().baseline_activations(inputs)
        )

    # ---- the layer -----------------------------------------------------------------------------------------------------

    def run_tower(self, inputs: Inputs) -> None:
        self.tower(inputs.pixels)

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        return TokenView(shape=_grid(inputs.pixels))

    def cache_key(self, inputs: Inputs) -> Hashable:
        return _grid(inputs.pixels)


def _patches(values: Mapping[str, Tensor]) -> Tensor:
    """The patches `(p, n, 2 + d)` of photos of one kind: row and column, from 1 on, and colours."""
    patches = values["flattened_patches"]
    return patches[:, patches[0, :, 0] > 0]


def _grid(patches: Tensor) -> tuple[int, int]:
    """Rows and columns of patches `(p, n, 2 + d)`."""
    rows, columns = patches[0, :, :2].amax(dim=0).tolist()
    return int(rows), int(columns)


SPECS = (
    FamilySpec(
        name="Pix2Struct",
        task="captioning, vqa",
        architectures=("Pix2StructForConditionalGeneration",),
        adapter=Pix2Struct,
        layer="encoder.encoder.layer[-1]",
        grid="as the photo, 2048 cells at most",
        tokenizer="SentencePiece",
        memory="1.1 GB (base, float32)",
    ),
)
