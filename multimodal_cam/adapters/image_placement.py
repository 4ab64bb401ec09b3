"""Where an image processor puts a photo: measured, not read from its settings.

A photo whose colours are its coordinates goes through the processor; what comes out says of every pixel where it was. So
squeezing, cropping, padding, sizes that depend on the photo, and whatever comes next year all have one right answer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.geometry import Placement

SNAP = 0.004  # fractions of the photo: frames nearer to an edge than that end at it


def coordinate_image(width: int, height: int) -> Image.Image:
    """Red says how far right a pixel is, green how far down, blue (255) that it is the photo's."""
    across = (np.arange(width) + 0.5) / width * 255
    down = (np.arange(height) + 0.5) / height * 255
    red, green = np.meshgrid(across, down)
    return Image.fromarray(np.stack([red, green, np.full_like(red, 255)], axis=-1).round().astype("uint8"))


def measure(width: int, height: int, process: Callable[[Image.Image], Tensor]) -> Placement:
    """The placement of a photo of that size; `process` gives its pixels `(3, H, W)` in 0..255, neither shifted nor scaled.

    Raises ValueError for a processor that turns or mirrors photos.
    """
    pixels = process(coordinate_image(width, height)).double()
    inside = (pixels[2] > 254) & (pixels[:2] > 8).all(dim=0) & (pixels[:2] < 247).all(dim=0)  # edges are blurred
    rows, columns = [(at + 0.5).double() for at in torch.nonzero(inside, as_tuple=True)]
    if len(rows) < 16:
        raise ValueError(f"the processor leaves too little of a photo of {width} x {height} to say where it is")
    x0, x1 = _ends(columns, rows, pixels[0][inside] / 255, pixels.shape[2])
    y0, y1 = _ends(rows, columns, pixels[1][inside] / 255, pixels.shape[1])
    return Placement(width, height, (x0, y0, x1, y1))


def _ends(along: Tensor, across: Tensor, place: Tensor, size: int) -> tuple[float, float]:
    """Where the first and the last pixel of `size` begin and end, by a straight line through all places."""
    slope, other, start = fitted_plane(along, across, place)
    if slope <= 0 or abs(other) * size > 0.05:
        raise ValueError("the processor turns or mirrors photos, so maps cannot be put back: switch that off in its settings")
    return snapped(start), snapped(start + slope * size)


def fitted_plane(along: Tensor, across: Tensor, place: Tensor) -> tuple[float, float, float]:
    """Least squares of `place = slope * along + other * across + start`, vectors all three."""
    design = torch.stack([along, across, torch.ones_like(along)], dim=1)
    slope, other, start = torch.linalg.lstsq(design, place[:, None]).solution[:, 0].tolist()
    return slope, other, start


def snapped(x: float) -> float:
    """`x`, or the whole number that it is as good as."""
    return float(round(x)) if abs(x - round(x)) < SNAP else x
