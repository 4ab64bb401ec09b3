"""Heatmaps blended over photos; conversion and resizing of the photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.geometry import Placement, paint_boxes
from ..results.explanation_data import ExplanationData
from .colour import OPACITY, colours, cover


def overlay(image: Image.Image, heat: Tensor, opacity: float = OPACITY) -> Image.Image:
    """`image` under `heat` `(H, W)`, an RGB picture of the same size.

    Heat in [0, 1] (`Explanation.heatmap`) is drawn warm; a signed one in [-1, 1] cool where it is negative. Where it
    is 0 or NaN the photo stays as it was; at strong heat the colour covers `opacity` of it.
    """
    if tuple(heat.shape) != (image.height, image.width):
        raise ValueError(f"heat: expected shape ({image.height}, {image.width}), the image's, got {tuple(heat.shape)}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity: expected a number between 0 and 1, got {opacity}")
    heat = heat.detach().float().cpu().nan_to_num(0)
    photo = torch.from_numpy(np.array(opaque(image))).float() / 255
    mixed = torch.lerp(photo, colours(heat), (opacity * cover(heat))[..., None])
    return Image.fromarray((mixed * 255).round().to(torch.uint8).numpy())


def outlines(values: Tensor, placement: Placement) -> Tensor:
    """Heat `(H, W)` for `overlay` of regions `(r, 1)` in [0, 1]: the boxes' outlines, wide and bright where a value is high."""
    return paint_boxes(values[:, 0], placement, outlines=True)


def opaque(image: Image.Image) -> Image.Image:
    """`image` as RGB; transparent pixels become white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def shrink(explanation: ExplanationData, side: int) -> ExplanationData:
    """The explanation with its photo in RGB and at most `side` pixels a side, which is enough for pictures."""
    photo = opaque(explanation.image)
    ratio = min(1.0, side / max(photo.size))
    width, height = (max(1, round(length * ratio)) for length in photo.size)
    if ratio < 1:
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
    return replace(explanation, image=photo, placement=replace(explanation.placement, width=width, height=height))
