"""Does a preprocessed photo show the part of the photo that a placement says?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..core.geometry import Placement
from .probe_photos import PhotoValues

Frame = tuple[float, float, float, float]

SIDE = 64  # pixels a side that are compared at most
FEW = 64  # pixels on the photo that cannot tell
MOVE = 0.04  # fractions of a frame: how far other frames are tried
LIKE = 0.3  # share of the pixels' variance that the photo has to explain
BETTER = 0.75  # what another frame leaves unexplained, as a share of what the stated one does, for it to be the better one
GAIN = 0.01  # and the share of the variance that it explains more


def shows(photo: PhotoValues, pixels: Tensor, placement: Placement) -> bool:
    """Whether `pixels` `(c, H, W)` look like the photo there, and more so than like parts of it nearby.

    Pixels are compared by the variance that a linear function of the photo's channels explains: means, scales, signs, the order
    of channels and grey do not matter. Pixels without contrast, and very few of them, show anything.
    """
    small = _small(pixels)
    if not bool(small.isfinite().all()) or float(small.var(dim=(1, 2)).max()) < 1e-9:
        return True
    x0, y0, x1, y1 = placement.frame
    thumbnail = _thumbnail(photo, round(small.shape[2] / (x1 - x0)), round(small.shape[1] / (y1 - y0)))
    if min(thumbnail.shape[1:]) < 3 or float(thumbnail.var(dim=(1, 2)).max()) < 1e-6:
        return True  # nothing to compare
    stated, seen = _explained(thumbnail, small, placement.frame)
    if seen < FEW:
        return True
    others = (_explained(thumbnail, small, frame) for frame in _nearby(placement.frame))
    best = max((explained for explained, count in others if count > seen / 4), default=0.0)
    moved = best - stated > GAIN and 1 - best < BETTER * (1 - stated)
    return stated > LIKE and not moved


def _small(pixels: Tensor) -> Tensor:
    pixels = pixels.detach().float().cpu()
    h, w = (min(SIDE, side) for side in pixels.shape[1:])
    small = F.adaptive_avg_pool2d(pixels[None], (h, w))[0]
    return (small - small.mean(dim=(1, 2), keepdim=True)) / small.std(dim=(1, 2), keepdim=True).clamp(min=1e-6)


def _thumbnail(photo: PhotoValues, width: int, height: int) -> Tensor:
    """The photo `(c, h, w)` in 0..1, at most that large."""
    if isinstance(photo, Image.Image):
        size = min(photo.width, max(width, 1)), min(photo.height, max(height, 1))
        reduced = photo.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
        return torch.from_numpy(np.array(reduced)).permute(2, 0, 1).float() / 255
    values = torch.from_numpy(np.array(photo, dtype=np.float32))
    values = values[None] if values.ndim == 2 else values.permute(2, 0, 1)
    size = min(values.shape[1], max(height, 1)), min(values.shape[2], max(width, 1))
    pooled: Tensor = F.adaptive_avg_pool2d(values[None], size)[0]
    return (pooled - pooled.min()) / (pooled.max() - pooled.min()).clamp(min=1e-12)


def _nearby(frame: Frame) -> Iterator[Frame]:
    """Frames with one edge moved, moved ones, smaller and larger ones, and the whole photo."""
    x0, y0, x1, y1 = frame
    for scale in (0.5, 0.75, 1.33, 2):
        x, y, width, height = (x0 + x1) / 2, (y0 + y1) / 2, scale * (x1 - x0) / 2, scale * (y1 - y0) / 2
        yield x - width, y - height, x + width, y + height
    yield 0.0, 0.0, 1.0, 1.0
    for sign in (-1, 1):
        across, down = sign * MOVE * (x1 - x0), sign * MOVE * (y1 - y0)
        yield from ((x0 + across, y0, x1, y1), (x0, y0 + down, x1, y1), (x0, y0, x1 + across, y1), (x0, y0, x1, y1 + down))
        yield from ((x0 + across, y0, x1 + across, y1), (x0, y0 + down, x1, y1 + down))


def _explained(thumbnail: Tensor, small: Tensor, frame: Frame) -> tuple[float, int]:
    """Share of the variance of `small` that the photo's part in `frame` explains, by its channels; and on how many pixels."""
    x0, y0, x1, y1 = frame
    h, w = small.shape[1:]
    xs = x0 + (x1 - x0) * (torch.arange(w) + 0.5) / w
    ys = y0 + (y1 - y0) * (torch.arange(h) + 0.5) / h
    inside = ((ys > 0) & (ys < 1))[:, None] & ((xs > 0) & (xs < 1))[None, :]
    count = int(inside.sum())
    grid = torch.stack([(2 * xs - 1).expand(h, w), (2 * ys - 1)[:, None].expand(h, w)], dim=-1)[None]
    part = F.grid_sample(thumbnail[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    known = torch.cat([part[:, inside], torch.ones(1, count)]).double()
    seen = small[:, inside].double()
    spread = (seen - seen.mean(dim=1, keepdim=True)).square().sum()
    ridge = 1e-6 * len(seen[0]) * torch.eye(len(known), dtype=torch.float64)
    rest = seen - torch.linalg.solve(known @ known.T + ridge, known @ seen.T).T @ known
    return 1 - float(rest.square().sum() / spread.clamp(min=1e-9)), count
