"""Pix2Struct (Lee et al., ICML 2023): as many patches as fit, in the image's proportions; questions are written above it.

Patches that only fill up the sequence are left out. There are as many as the checkpoint's image processor says; its processor,
where it is not told, takes 2048 whatever that is. VQA checkpoints (`is_vqa`) see one picture, the question's header and the
image below it: their grid reaches beyond the image, and what the header adds lies outside of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ...inputs import Inputs
from ..decoding import no_layer, shift_right
from ..family_spec import Capabilities, FamilySpec
from ..image_input import image_processor_output
from ..loaded_model import LoadedModel
from ..prompts import SeparatePrompt
from ..token_views import TokenView
from .ved import last_block

GRID = "patch_grid"  # extra input: rows and columns of patches of each image


@dataclass(frozen=True)
class HeaderPrompt:
    """The image processor writes the question above the image."""

    request: ClassVar[None] = None
    joint: ClassVar[bool] = True
    in_pixels: ClassVar[bool] = True

    def text(self, _loaded: LoadedModel, question: str | None) -> str:
        return question or ""

    def process(self, loaded: LoadedModel, image: Image, question: str | None, **options: Any) -> dict[str, Any]:
        """Raises ValueError where nothing is asked, OSError where the font is missing."""
        if question is None:
            raise ValueError(f"{loaded.name} answers questions: pass question=")
        try:
            return dict(loaded.image_processor([image], header_text=question, return_tensors="pt", **options))
        except OSError as error:
            raise OSError(
                f"{loaded.name} writes the question on the photo, in a font that transformers fetches from the hub: run "
                "`hf download ybelkada/fonts Arial.TTF` once where there is a network, and bring the hub's cache here"
            ) from error

    def ids(self, _loaded: LoadedModel, _values: Mapping[str, Any], _question: str | None) -> None:
        return None


def question_key(_loaded: LoadedModel, question: str | None) -> Hashable:
    return question


def with_header(spec: FamilySpec, _model: Any, processor: Any, _name: str) -> FamilySpec:
    if not processor.image_processor.is_vqa:
        return spec
    own = replace(spec.capabilities, tower_ignores_question=False, tower_shared_by_questions=False)
    return replace(spec, prompt=HeaderPrompt(), capabilities=own, batch_key=question_key)


# ---- text --------------------------------------------------------------------------------------------------------------------


def logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    model = loaded.model
    start: int | None = model.generation_config.decoder_start_token_id
    read = shift_right(model.config.text_config.decoder_start_token_id if start is None else start, ids)
    found: Tensor = model(flattened_patches=inputs.pixels, decoder_input_ids=read, use_cache=False).logits
    return found


def generate(loaded: LoadedModel, inputs: Inputs, **options: Any) -> Tensor:
    generated: Tensor = loaded.model.generate(flattened_patches=inputs.pixels, **options)
    return generated[:, 1:]


# ---- images ------------------------------------------------------------------------------------------------------------------


def patches_and_grid(_loaded: LoadedModel, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    patches = _patches(values)
    return patches, {GRID: torch.tensor([_grid(patches)])}


def unnormalized_image(loaded: LoadedModel, image: Image, question: str | None) -> Tensor:
    prompt = loaded.spec.prompt
    if question is not None and isinstance(prompt, HeaderPrompt):
        patches = _patches(prompt.process(loaded, image, question, do_normalize=False))
    else:
        patches = _patches(image_processor_output(loaded, image))
    side = loaded.image_processor.patch_size
    squares = patches[0, :, 2:].reshape(*_grid(patches), side["height"], side["width"], 3)
    return squares.permute(4, 0, 2, 1, 3).flatten(1, 2).flatten(2)


def image_means(_loaded: LoadedModel, inputs: Inputs) -> Inputs:
    """0, each picture's own mean, in all patches but the header's; each keeps its row and column."""
    rows, columns = _grid(inputs.pixels)
    _, top, _, bottom = inputs.placements[0].frame
    on_photo = top + (bottom - top) * (torch.arange(rows) + 0.5) / rows > 0
    pixels = inputs.pixels.clone()
    pixels[:, on_photo.repeat_interleave(columns), 2:] = 0
    return replace(inputs, pixels=pixels)


def run_tower(loaded: LoadedModel, inputs: Inputs) -> None:
    loaded.tower(inputs.pixels)


def patch_view(_loaded: LoadedModel, inputs: Inputs, _layer: nn.Module) -> TokenView:
    rows, columns = inputs.extra_inputs[GRID][0].tolist()
    return TokenView(shape=(rows, columns))


def _patches(values: Mapping[str, Tensor]) -> Tensor:
    """The patches `(p, n, 2 + d)` of images of one kind: row and column, from 1 on, and colours."""
    patches = values["flattened_patches"]
    return patches[:, patches[0, :, 0] > 0]


def _grid(patches: Tensor) -> tuple[int, int]:
    """Rows and columns of patches `(p, n, 2 + d)`."""
    rows, columns = patches[0, :, :2].amax(dim=0).tolist()
    return int(rows), int(columns)


SPECS = (
    FamilySpec(
        name="Pix2Struct",
        architectures=("Pix2StructForConditionalGeneration",),
        layer="encoder.encoder.layer[-1]",
        grid="as the photo, 2048 cells at most",
        tokenizer="SentencePiece",
        memory="1.1 GB (base, float32)",
        vision_tower_and_layer=last_block,
        capabilities=Capabilities(grid_follows_image=True),
        prompt=SeparatePrompt(),
        question_layer=no_layer,
        grid_inputs=(GRID,),
        split_output=patches_and_grid,
        unnormalized_image=unnormalized_image,
        baseline_inputs=image_means,
        run_tower=run_tower,
        layer_view=patch_view,
        logits=logits,
        generate=generate,
        for_checkpoint=with_header,
    ),
)
