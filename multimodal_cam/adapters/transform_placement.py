"""Where torchvision's and timm's transforms put a photo: from the steps of a preprocessing to a `Placement`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ..core.geometry import Placement

MOVES = re.compile(r"resize|crop|pad|flip|rotat|affine|perspective|scale|zoom", re.IGNORECASE)


def transform_placement(transform: Any) -> Callable[[int, int], Placement]:
    """The placement of `transform`: a Compose of `Resize` and `CenterCrop`, or a preset with a resize and a crop size.

    Anything else is taken to keep the whole photo. Raises ValueError for a step that moves the photo in another way.
    """
    steps = list(_steps(transform))

    def placement(width: int, height: int) -> Placement:
        size, share = (width, height), (1.0, 1.0)
        for kind, wanted in steps:
            if kind == "resize":
                size = _resized(size, wanted)
            else:
                crop = (wanted[-1], wanted[0])
                share = (share[0] * crop[0] / size[0], share[1] * crop[1] / size[1])
                size = crop
        x, y = share[0] / 2, share[1] / 2
        return Placement(width, height, (0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y))

    return placement


def _steps(transform: Any) -> Iterator[tuple[str, list[int]]]:
    """`resize` or `crop`, each with its size `[shorter side]` or `[height, width]`, in order."""
    for step in getattr(transform, "transforms", [transform]):
        name = type(step).__name__
        if hasattr(step, "resize_size") and hasattr(step, "crop_size"):  # torchvision's presets
            yield "resize", _sizes(step.resize_size)
            yield "crop", _sizes(step.crop_size)
        elif name == "Resize" and getattr(step, "max_size", None) is None:
            yield "resize", _sizes(step.size)
        elif name == "CenterCrop":
            yield "crop", _sizes(step.size)
        elif MOVES.search(name):
            raise ValueError(f"preprocess: where {name} puts the photo is not known here, pass placement= (see geometry)")


def _sizes(size: Any) -> list[int]:
    return [size] if isinstance(size, int) else list(size)


def _resized(size: tuple[int, int], wanted: list[int]) -> tuple[int, int]:
    """As torchvision: one number is the shorter side's, two are height and width."""
    if len(wanted) == 2:
        return wanted[1], wanted[0]
    short = min(size)
    return int(wanted[0] * size[0] / short), int(wanted[0] * size[1] / short)
