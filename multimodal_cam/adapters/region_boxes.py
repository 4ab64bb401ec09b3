"""Boxes of the regions that a network reads instead of a grid (bottom-up attention): given by the user, checked here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from ..core.geometry import Box

Regions = Callable[[Image.Image], Any]  # `regions=`: a photo -> boxes (r, 4), x0, y0, x1, y1 in pixels of that photo
OUTSIDE = 1.0  # pixels by which detectors round beyond the photo's edge
KEPT = 64  # photos whose boxes wait for the batch that they were made for


class RegionBoxes:
    """The boxes of photos by the user's function `regions`, which runs once a photo and batch."""

    def __init__(self, regions: Regions) -> None:
        self.regions = regions
        self._waiting: dict[int, tuple[Image.Image, tuple[Box, ...]]] = {}  # id of an image -> the image, which keeps the id

    def of(self, image: Image.Image) -> tuple[Box, ...]:
        """Boxes of a photo in fractions of it. Raises ValueError, in words, for what are no boxes on that photo."""
        if id(image) not in self._waiting:
            while len(self._waiting) >= KEPT:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[id(image)] = (image, _fractions(self.regions(image), *image.size))
        return self._waiting[id(image)][1]

    def forget(self, image: Image.Image) -> None:
        """Ask for the boxes of `image` anew the next time."""
        self._waiting.pop(id(image), None)


def _fractions(found: Any, width: int, height: int) -> tuple[Box, ...]:
    """Boxes in pixels as fractions of the photo."""
    expected = "regions: expected boxes (r, 4), x0, y0, x1, y1 in pixels of the photo"
    try:
        boxes = torch.as_tensor(found).detach().double().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{expected}, got {type(found).__name__}") from None
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0:
        raise ValueError(f"{expected}, got shape {tuple(boxes.shape)}")
    if float(boxes.max()) <= 1 and min(width, height) > 1:
        raise ValueError(f"{expected}, got numbers of at most 1: multiply fractions by the photo's width and height")
    sides = torch.tensor([width, height, width, height], dtype=torch.float64)
    for i, box in enumerate(boxes):
        shown = "(" + ", ".join(f"{x:g}" for x in box.tolist()) + ")"
        if not bool((box[:2] < box[2:]).all()):
            raise ValueError(f"{expected}, x0 < x1 and y0 < y1; box {i} is {shown}: boxes as x, y, w, h need x + w and y + h")
        if not bool(((box >= -OUTSIDE) & (box <= sides + OUTSIDE)).all()):
            raise ValueError(
                f"{expected}; box {i}, {shown}, reaches outside of the photo of {width} x {height} pixels: "
                "give pixels of the photo as it is, not of what preprocess makes of it"
            )
    inside = (boxes.clamp(min=0) / sides).clamp(max=1)
    if not bool((inside[:, :2] < inside[:, 2:]).all()):
        raise ValueError(f"{expected}: a box lies on the edge of the photo, of which nothing is left inside")
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in inside.tolist())
