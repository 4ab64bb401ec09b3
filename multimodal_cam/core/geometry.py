"""Where a layer's grid lies on the original image, and maps drawn at its size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Placement:
    """The rectangle of the original image that the grid covers.

    `width` and `height` are the image's, in pixels; `frame` is `(x0, y0, x1, y1)` in fractions of them. A centre crop covers
    less than the image (a frame inside 0..1), a letterbox more (a frame that reaches outside).
    """

    width: int
    height: int
    frame: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.frame
        if self.width < 1 or self.height < 1 or not (x0 < x1 and y0 < y1):
            raise ValueError(f"a placement needs a positive size and x0 < x1, y0 < y1, got {self}")


def squeeze(width: int, height: int) -> Placement:
    """The whole frame, its aspect ratio changed: the grid covers all of the image."""
    return Placement(width, height)


def center_crop(width: int, height: int, *, resize: int = 1, crop: int = 1) -> Placement:
    """The centred square that `Resize(resize)` and `CenterCrop(crop)` leave; without them the largest one.

    `placement=functools.partial(center_crop, resize=256, crop=224)` states it for a preprocessing.
    """
    share = crop / resize
    x, y = share * min(1.0, height / width) / 2, share * min(1.0, width / height) / 2
    return Placement(width, height, (0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y))


def letterbox(width: int, height: int) -> Placement:
    """The smallest centred square around the image, its margins padded."""
    x, y = max(1.0, height / width) / 2, max(1.0, width / height) / 2
    return Placement(width, height, (0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y))


def place(maps: Tensor, placement: Placement, size: tuple[int, int] | None = None, mode: str = "bilinear") -> Tensor:
    """Maps `(k, h, w)` drawn on the original image: `(k, H, W)`, interpolated, 0 where the grid does not reach.

    `size=(H, W)` draws at another resolution than the image's own; `mode` is `bilinear` or `nearest`.
    """
    height, width = size or (placement.height, placement.width)
    x0, y0, x1, y1 = placement.frame
    xs = ((torch.arange(width, device=maps.device) + 0.5) / width - x0) / (x1 - x0) * 2 - 1
    ys = ((torch.arange(height, device=maps.device) + 0.5) / height - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack([xs[None, :].expand(height, width), ys[:, None].expand(height, width)], dim=-1)[None].to(maps.dtype)
    drawn = F.grid_sample(maps[None], grid, mode=mode, padding_mode="border", align_corners=False)[0]
    inside = (xs.abs() <= 1)[None, :] & (ys.abs() <= 1)[:, None]
    return drawn * inside
