"""Functions of the generic spec: what any architecture that is prompted with one image is taken to do."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..inputs import Inputs
from .image_input import UNNORMALIZED
from .loaded_model import LoadedModel
from .token_views import OrderedTokenView, TokenView, first_tensor

PAGE = "docs/how-to/family.md"
ADVICE = f"write its FamilySpec (vision_tower_and_layer, and of prompt, run_tower, logits and generate what differs), see {PAGE}"
CUTTING = ("crop_to_patches", "do_image_splitting", "do_pan_and_scan", "image_grid_pinpoints")  # settings that make tiles


def refusal(loaded: LoadedModel, why: str) -> ValueError:
    """The error for a network that cannot be supported without a spec of its own."""
    return ValueError(f"there is no adapter for {type(loaded.model).__name__}, and none can be made up: {why}; {ADVICE}")


def prompt_template(processor: Any, asked: str) -> str:
    return f"{getattr(processor, 'image_token', '')}\n{asked}\n"


def pixels_and_rows(loaded: LoadedModel, values: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The pixels, and all outputs of the processor with one row for the image. Raises ValueError for tiles and second images."""
    pixels = values["pixel_values"]
    if pixels.ndim < 4 or pixels.shape[:-2].numel() != 3:
        settings = getattr(loaded.processor, "images_kwargs", {}), vars(loaded.image_processor)
        on = [name for name in CUTTING if any(some.get(name) for some in settings)]
        hint = f"; it is cut by {', '.join(on)}: switch that off in the processor, if you can do without" if on else ""
        raise refusal(loaded, f"pixel_values have the shape {tuple(pixels.shape)}, expected one picture (1, 3, H, W){hint}")
    extra = {}
    for name, value in values.items():
        if name in ("input_ids", "attention_mask", "labels", "pixel_values") or not isinstance(value, Tensor):
            continue
        if value.ndim == 0 or len(value) != 1:
            raise refusal(loaded, f"{name} have the shape {tuple(value.shape)}, expected one row for the one photo")
        if value.ndim > 3 and value.shape[-3] == 3 and value.is_floating_point():
            raise refusal(loaded, f"it sees the photo twice, as pixel_values and as {name}")
        extra[name] = value
    return pixels, extra


def continued_token_inputs(_loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
    """What the processor gives for each token of the prompt, continued through the text as `generate` does."""
    assert inputs.question_ids is not None
    prompt, text = inputs.question_ids.shape[1], ids.shape[1] - inputs.question_ids.shape[1]
    kwargs = {}
    for name, value in inputs.extra_inputs.items():
        if value.ndim == 2 and value.shape[1] == prompt:
            last = value[:, -1:].expand(-1, text)
            if name == "position_ids":
                last = last + torch.arange(1, text + 1, device=value.device)
            kwargs[name] = torch.cat([value, last], dim=1)
    return kwargs


def logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    """Teacher-forced logits of a network that may not know `logits_to_keep`."""
    assert inputs.question_ids is not None
    read, t = torch.cat([inputs.question_ids, ids[:, :-1]], dim=1), ids.shape[1]
    only = {"logits_to_keep": t} if "logits_to_keep" in inspect.signature(loaded.model.forward).parameters else {}
    found: Tensor = loaded.model(input_ids=read, use_cache=False, **only, **loaded.forward_kwargs(inputs, read)).logits
    return found[:, -t:]


def unnormalized_image(loaded: LoadedModel, image: Image.Image, _question: str | None) -> Tensor:
    text = loaded.spec.prompt.text(loaded, None)
    pixels: Tensor = loaded.processor(images=image, text=text, return_tensors="pt", **UNNORMALIZED)["pixel_values"].float()
    return pixels.reshape(3, *pixels.shape[-2:])


@dataclass(frozen=True)
class DiscoveredView(OrderedTokenView):
    """The grid that was found: as `OrderedTokenView` for a layer of just as many tokens, else by the image's proportions."""

    def extract(self, output: Any) -> Tensor:
        return super().extract(output) if self._is_probed_output(output) else TokenView(ratio=self.ratio).extract(output)

    def inject(self, activations: Tensor, output: Any) -> Any:
        other = TokenView(ratio=self.ratio)
        injected = super().inject(activations, output) if self._is_probed_output(output) else other.inject(activations, output)
        new, old = first_tensor(injected), first_tensor(output)
        if new is None or old is None or new.shape != old.shape:
            raise ValueError(
                f"{len(activations)} rows, where this model runs row by row: look at its own layer, or use a method of one step "
                "('grad_cam')"
            )
        return injected

    def _is_probed_output(self, output: Any) -> bool:
        tensor = first_tensor(output)
        return tensor is not None and tensor.ndim < 4 and tensor.shape[:-1].numel() % len(self.order) == 0

    def prefix_and_grid(self, n: int) -> tuple[int, tuple[int, int]]:
        return super().prefix_and_grid(n) if n == len(self.order) else TokenView(ratio=self.ratio).prefix_and_grid(n)
