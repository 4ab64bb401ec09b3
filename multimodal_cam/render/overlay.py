"""Heatmaps blended over photos; conversion and resizing of the photos."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ..core.geometry import Placement, paint_boxes
from ..metrics.overlap import BoxRule
from ..results.explanation_data import ExplanationData
from ..results.photo_boxes import photo_boxes
from .colour import OPACITY, colours, cover

FRAME = ("#000000", 4), ("#ffffff", 2)  # colours and widths in pixels of a box's line: white on black shows on any photo
LEVELS = 4096  # of heat on either side of 0: more than 8 bits of colour tell apart


def overlay(image: Image.Image, heat: Tensor, opacity: float = OPACITY) -> Image.Image:
    """`image` under `heat` `(H, W)`, an RGB picture of the same size.

    Heat in [0, 1] (`Explanation.heatmap`) is drawn warm; a signed one in [-1, 1] cool where it is negative. Where it
    is 0 or NaN the photo stays as it was; at strong heat the colour covers `opacity` of it.
    """
    if tuple(heat.shape) != (image.height, image.width):
        raise ValueError(f"heat: expected shape ({image.height}, {image.width}), the image's, got {tuple(heat.shape)}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity: expected a number between 0 and 1, got {opacity}")
    shades, covered = _shades()
    level = (heat.detach().float().cpu().nan_to_num(0).clamp(-1, 1) * LEVELS).round().int().numpy() + LEVELS
    mixed = np.array(opaque(image), dtype=np.float32)
    mixed *= (1 - opacity * covered)[level][..., None]
    mixed += (opacity * covered[:, None] * shades)[level]
    return Image.fromarray(np.rint(mixed, out=mixed).astype(np.uint8))


@cache
def _shades() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours `(2 * LEVELS + 1, 3)` in 0 to 255 of heats from -1 to 1, and what of the photo they cover `(2 * LEVELS + 1,)`."""
    heat = torch.arange(-LEVELS, LEVELS + 1) / LEVELS
    return (255 * colours(heat)).numpy(), cover(heat).numpy()


def outlines(values: Tensor, placement: Placement) -> Tensor:
    """Heat `(H, W)` for `overlay` of regions `(r, 1)` in [0, 1]: the boxes' outlines, wide and bright where a value is high."""
    return paint_boxes(values[:, 0], placement, outlines=True)


def outlined(picture: Image.Image, explanation: ExplanationData, map: Tensor, rule: BoxRule | None) -> Image.Image:
    """A picture of an explanation's photo with the box of a map `(h, w)` by `rule`; without a rule the picture itself."""
    if rule is None:
        return picture
    canvas = picture.copy()
    placement = explanation.placement
    scale = canvas.width / placement.width, canvas.height / placement.height
    for x0, y0, x1, y1 in photo_boxes(explanation, map, rule).tolist():
        corners = x0 * scale[0], y0 * scale[1], max(x1 * scale[0] - 1, x0 * scale[0]), max(y1 * scale[1] - 1, y0 * scale[1])
        for colour, width in FRAME:
            ImageDraw.Draw(canvas).rectangle(corners, outline=colour, width=width)
    return canvas


def opaque(image: Image.Image) -> Image.Image:
    """`image` as RGB; transparent pixels become white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def shrink(explanation: ExplanationData, side: int) -> ExplanationData:
    """The explanation with its photo in RGB and at most `side` pixels a side, which is enough for pictures."""
    return fit(explanation, min(side, max(explanation.image.size)))


def fit(explanation: ExplanationData, side: int) -> ExplanationData:
    """The explanation with its photo in RGB and `side` pixels on the longer side."""
    photo = opaque(explanation.image)
    ratio = side / max(photo.size)
    width, height = (max(1, round(length * ratio)) for length in photo.size)
    if ratio != 1:
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
    return replace(explanation, image=photo, placement=replace(explanation.placement, width=width, height=height))


def jpeg(photo: Image.Image, quality: int = 85) -> bytes:
    """An RGB photo as a JPEG file without any metadata: Pillow would copy a comment."""
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality, comment=b"")
    return file.getvalue()
