"""Where a layer's grid, or its regions, lie on the original image, and maps drawn at its size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

Box = tuple[float, float, float, float]
LINE = 0.02  # of the image's longer side: width of the outline of a box of the strongest value


@dataclass(frozen=True)
class Placement:
    """The rectangle of the original image that the grid covers, or the boxes that its regions are.

    `width` and `height` are the image's, in pixels; `frame` is `(x0, y0, x1, y1)` in fractions of them. A centre crop covers
    less than the image (a frame inside 0..1), a letterbox more (a frame that reaches outside). `boxes`, of maps `(r, 1)` over
    regions, are as many such rectangles inside the image, in the order of the regions; the frame then says nothing.
    """

    width: int
    height: int
    frame: Box = (0.0, 0.0, 1.0, 1.0)
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.frame
        if self.width < 1 or self.height < 1 or not (x0 < x1 and y0 < y1):
            raise ValueError(f"a placement needs a positive size and x0 < x1, y0 < y1, got {self}")
        for box in self.boxes:
            if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise ValueError(f"a box needs 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, got {box}")

    def pixel_boxes(self) -> list[tuple[int, int, int, int]]:
        """The boxes as whole pixels `(left, top, right, bottom)` of the image, of one pixel each way or more."""
        sides = (self.width, self.height)
        corners = []
        for box in self.boxes:
            starts = [min(round(x * side), side - 1) for x, side in zip(box[:2], sides, strict=True)]
            stops = [max(round(x * side), start + 1) for x, side, start in zip(box[2:], sides, starts, strict=True)]
            corners.append((starts[0], starts[1], stops[0], stops[1]))
        return corners


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

    `size=(H, W)` draws at another resolution than the image's own; `mode` is `bilinear` or `nearest`. Maps `(k, r, 1)` over
    regions are boxes filled with their values.
    """
    height, width = size or (placement.height, placement.width)
    if placement.boxes:
        return torch.stack([paint_boxes(map[:, 0], replace(placement, width=width, height=height)) for map in maps])
    x0, y0, x1, y1 = placement.frame
    xs = ((torch.arange(width, device=maps.device) + 0.5) / width - x0) / (x1 - x0) * 2 - 1
    ys = ((torch.arange(height, device=maps.device) + 0.5) / height - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack([xs[None, :].expand(height, width), ys[:, None].expand(height, width)], dim=-1)[None].to(maps.dtype)
    drawn = F.grid_sample(maps[None], grid, mode=mode, padding_mode="border", align_corners=False)[0]
    inside = (xs.abs() <= 1)[None, :] & (ys.abs() <= 1)[:, None]
    return drawn * inside


def paint_boxes(values: Tensor, placement: Placement, *, outlines: bool = False) -> Tensor:
    """Values `(r,)` of regions on the image, `(H, W)`: where boxes overlap the strongest is on top, 0 where there is none.

    With `outlines` boxes are not filled: their lines are the wider the nearer a value is to 1.
    """
    if len(values) != len(placement.boxes):
        raise ValueError(f"expected a value for each of {len(placement.boxes)} boxes, got {len(values)}")
    drawn = values.new_zeros(placement.height, placement.width)
    widest = LINE * max(drawn.shape)
    corners = placement.pixel_boxes()
    for i in values.abs().argsort(stable=True).tolist():
        left, top, right, bottom = corners[i]
        box = drawn[top:bottom, left:right]
        if not outlines:
            box[:] = values[i]
            continue
        line = min(max(1, round(widest * min(abs(float(values[i])), 1))), *box.shape)
        box[:line] = box[-line:] = box[:, :line] = box[:, -line:] = values[i]
    return drawn
