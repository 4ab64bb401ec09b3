"""Image input: from images and questions to `Inputs`, where the image lies in them, and the baseline without a photo."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ...core.geometry import Placement
from .. import image_placement
from ..inputs import Inputs, deduplicate_images, pad_ids
from ..network_state import settings_state
from ..state_cache import StateCache
from .loaded_model import LoadedModel
from .prompt_questions import PromptQuestions
from .token_views import TokenView

OF_THE_PROMPT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels", "pixel_values")
SIZES_KEPT = 1000  # sizes of images whose placement is kept
UNNORMALIZED = {"do_rescale": False, "do_normalize": False}


class ImageInput:
    """Image side of an adapter: the processor's outputs as `Inputs`, by the functions of the family's spec."""

    def __init__(self, loaded: LoadedModel, questions: PromptQuestions) -> None:
        self.loaded, self.questions = loaded, questions
        self._placements = StateCache[Placement](size=SIZES_KEPT)

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None) -> Inputs:
        """Inputs with a row for each of `images`; an image that occurs several times is held once, if the tower may be shared."""
        loaded, prompt = self.loaded, self.loaded.spec.prompt
        each: Sequence[str | None] = questions or [None] * len(images)
        outputs = self._processor_outputs(images, each)
        prompts = [prompt.ids(loaded, values, question) for values, question in zip(outputs, each, strict=True)]
        tokens = [ids for ids in prompts if ids is not None]
        index = deduplicate_images(images)[1] if loaded.spec.capabilities.tower_shared_by_questions else None
        first = range(len(images)) if index is None else [index.tolist().index(i) for i in range(int(index.max()) + 1)]
        pixels, extra = zip(*(self.split_output(outputs[i], images[i]) for i in first), strict=True)
        device = loaded.device
        return Inputs(
            torch.cat(pixels).to(device, loaded.dtype),
            tuple(self.placement(image.size, question) for image, question in zip(images, each, strict=True)),
            question_ids=pad_ids(tokens, device) if tokens else None,
            image_index=None if index is None else index.to(device),
            extra_inputs={name: torch.cat([one[name] for one in extra]).to(device) for name in extra[0]},
            question_slice=self.questions.slice_of(each, tokens) if tokens else None,
        )

    def _processor_outputs(self, images: Sequence[Image], questions: Sequence[str | None]) -> list[dict[str, Any]]:
        prompt = self.loaded.spec.prompt
        if prompt.joint:
            return [prompt.process(self.loaded, *row) for row in zip(images, questions, strict=True)]
        distinct, index = deduplicate_images(images)
        outputs = [prompt.process(self.loaded, image, None) for image in distinct]
        return outputs if index is None else [outputs[i] for i in index.tolist()]

    def split_output(self, values: dict[str, Any], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        """One image's pixels `(1, ...)` and extra inputs `(1, ...)`, from all outputs of the processor."""
        return self.loaded.spec.split_output(self.loaded, values)

    def placement(self, size: tuple[int, int], question: str | None = None) -> Placement:
        """Where the layer's grid lies on images of that `size`, width and height; measured once, but for questions in pixels."""
        if question is not None and self.loaded.spec.prompt.in_pixels:
            return image_placement.measure(*size, partial(self.unnormalized_image, question=question))
        return self._placements.value(self.size_state(size), lambda: image_placement.measure(*size, self.unnormalized_image))

    def size_state(self, size: tuple[int, int]) -> Hashable:
        """Key of what the image processor makes of images of a size: its settings count, too."""
        return settings_state(self.loaded.image_processor), size

    def unnormalized_image(self, image: Image, question: str | None = None) -> Tensor:
        """The image as the tower gets it, `(3, H, W)`, but in 0..255: resized and cropped, not normalized."""
        return self.loaded.spec.unnormalized_image(self.loaded, image, question)

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        return self.loaded.spec.baseline_inputs(self.loaded, inputs)

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        return self.loaded.spec.layer_view(self.loaded, inputs, layer)


# ---- functions of a spec: what most families do ----------------------------------------------------------------------------


def pixels_and_extra(_loaded: LoadedModel, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The pixels, and all outputs of the processor but the prompt's."""
    return values["pixel_values"], {name: value for name, value in values.items() if name not in OF_THE_PROMPT}


def pixels_only(_loaded: LoadedModel, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The pixels, and no extra inputs."""
    return values["pixel_values"], {}


def image_processor_output(loaded: LoadedModel, image: Image) -> Mapping[str, Tensor]:
    """What the image processor gives for one image, neither rescaled nor normalized."""
    return dict(loaded.image_processor([image], return_tensors="pt", **UNNORMALIZED))


def unnormalized_pixels(loaded: LoadedModel, image: Image, _question: str | None) -> Tensor:
    """The image processor's `pixel_values` `(3, H, W)` in 0..255."""
    return image_processor_output(loaded, image)["pixel_values"][0].float()


def run_tower_on_pixels(loaded: LoadedModel, inputs: Inputs) -> None:
    """Run the vision tower on every distinct image, or on all parts of each, `(p, n, 3, H, W)`."""
    loaded.tower(pixel_values=inputs.pixels.flatten(0, -4))


def mean_colour_inputs(loaded: LoadedModel, inputs: Inputs) -> Inputs:
    """Mean-colour images: 0 after normalization, grey without."""
    normalized = getattr(loaded.image_processor, "do_normalize", True)
    return replace(inputs, pixels=torch.full_like(inputs.pixels, 0 if normalized else 0.5))


def nearly_mean_colour_inputs(loaded: LoadedModel, inputs: Inputs) -> Inputs:
    """The same, but nowhere 0: some models take images that are 0 everywhere for padding."""
    blank = mean_colour_inputs(loaded, inputs)
    return replace(blank, pixels=blank.pixels.clamp(min=1e-6))


def grid_behind_prefix(loaded: LoadedModel, inputs: Inputs, _layer: nn.Module) -> TokenView:
    """A grid of the image's proportions behind the prefix tokens, which have no place."""
    return TokenView(loaded.prefix, inputs.pixels.shape[-2] / inputs.pixels.shape[-1])
