"""Maps on the photo before they become heat: drawn at its size, and the value that the strongest colour stands for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.geometry import Placement, place

OUTLIERS = 0.1  # of a map of pixels: the few largest, which hold so much of its sum, all have the strongest colour


def positive_on_photo(maps: Tensor, placement: Placement, *, of_pixels: bool) -> Tensor:
    """The positive part of maps `(k, h, w)` on the photo, `(k, H, W)`; pixels smaller than the photo's are averaged first."""
    maps = maps.nan_to_num(0).clamp(min=0)
    if of_pixels:
        x0, y0, x1, y1 = placement.frame
        rows, columns = round(placement.height * (y1 - y0)), round(placement.width * (x1 - x0))
        size = (min(maps.shape[-2], max(rows, 1)), min(maps.shape[-1], max(columns, 1)))
        maps = F.adaptive_avg_pool2d(maps, size)
    return place(maps, placement)


def full_heat(drawn: Tensor, *, of_pixels: bool) -> float:
    """The value of the strongest colour for a map without negative values; 0 if it holds nothing.

    The maximum; of a map of pixels, whose maximum is that of noise, the value below which all but `OUTLIERS` of the sum lies.
    """
    if not of_pixels:
        return max(float(drawn.max()), 0.0)
    values = drawn.flatten().sort().values
    sums = values.double().cumsum(dim=0)
    at = int(torch.searchsorted(sums, (1 - OUTLIERS) * sums[-1]))
    return float(values[min(at, len(values) - 1)])
