"""From where every pixel of a preprocessed photo comes -> the frame of the photo that the pixels cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .image_placement import fitted_plane, snapped

TOLERANCE = 0.02  # fractions of the photo: how far a pixel may lie from where the fitted frame puts it
ENOUGH = 16  # pixels on the photo
COVERAGE = 0.9  # share of the pixels on the photo that must lie there
CROSS = 0.05  # fractions of the photo: how far a row or column may lean
SAMPLES = 112  # pixels a side that are looked at
CONTRAST = 0.01  # of the largest squared contrast: pixels with less of it are padding


class PlacementError(ValueError):
    """Pixels whose place on the photo cannot be said."""


class ColourError(PlacementError):
    """Colours that are no linear function of the photo's."""


@dataclass(frozen=True)
class CoordinateField:
    """Where pixels come from, in fractions of the photo: `across` and `down` `(h, w)`, NaN for padding.

    `xs` `(w,)` and `ys` `(h,)` are the pixels' own places in the preprocessed picture of `size` (height, width).
    """

    across: Tensor
    down: Tensor
    xs: Tensor
    ys: Tensor
    size: tuple[int, int]

    def frame(self, tolerance: float = TOLERANCE) -> tuple[float, float, float, float]:
        """The frame `(x0, y0, x1, y1)`. Raises PlacementError for pictures that are turned, mirrored, warped or put together."""
        x, y = self.xs.expand_as(self.across), self.ys[:, None].expand_as(self.across)
        x0, x1 = _ends(self.across, x, y, self.size[::-1], tolerance)
        y0, y1 = _ends(self.down.T, y.T, x.T, self.size, tolerance)
        return x0, y0, x1, y1


def _ends(place: Tensor, along: Tensor, other: Tensor, sizes: tuple[int, int], tolerance: float) -> tuple[float, float]:
    """Where the picture begins and ends on the photo, along the last axis of `place`; `sizes` along it and across it."""
    slope, lean, start = _first_guess(place, along, other)
    for looser in (3, 2, 1):
        if abs(lean) * sizes[1] > CROSS:
            raise PlacementError("turns photos")
        if slope <= 0:
            raise PlacementError("mirrors photos")
        said = slope * along + lean * other + start
        margin = 0.03 + slope  # the photo's edge is blurred, or goes on in padding that repeats it
        on_photo = ~place.isnan() & (said > margin) & (said < 1 - margin)
        near = on_photo & ((place - said).abs() < looser * max(tolerance, 2 * slope))
        if near.sum() < ENOUGH:
            raise PlacementError("leaves too little of a photo to say where it is")
        slope, lean, start = fitted_plane(along[near], other[near], place[near])
    if near.sum() < COVERAGE * on_photo.sum() or _goes_on_outside(place, said, slope * float(along[0, 1] - along[0, 0])):
        raise PlacementError("warps photos, or puts parts of them together")
    return snapped(start), snapped(start + slope * sizes[0])


def _goes_on_outside(place: Tensor, said: Tensor, rise: float) -> bool:
    """Whether the photo is seen again where it should have ended, in the same direction: padding mirrors or repeats its edge."""
    outside = (said < 0) | (said > 1)
    along = place.diff(dim=1) / rise
    again = outside[:, 1:] & outside[:, :-1] & ((along - 1).abs() < 0.3)
    return bool(again.sum() > 0.2 * outside.sum()) and int(outside.sum()) >= ENOUGH


def _first_guess(place: Tensor, along: Tensor, other: Tensor) -> tuple[float, float, float]:
    """Slopes and start by medians: what most of the pixels say."""
    slopes = []
    for axis, at in ((1, along), (0, other)):
        step = max(1, int((~place.isnan()).any(dim=1 - axis).sum()) // 6)  # of what is photo, and no padding
        n = place.shape[axis] - step
        rise = place.narrow(axis, step, n) - place.narrow(axis, 0, n)
        run = at.narrow(axis, step, n) - at.narrow(axis, 0, n)
        rises = (rise / run)[~rise.isnan()]
        if len(rises) < ENOUGH:
            raise PlacementError("leaves too little of a photo to say where it is")
        slopes.append(float(rises.median()))
    rest = place - slopes[0] * along - slopes[1] * other
    return slopes[0], slopes[1], float(rest[~rest.isnan()].median())


def ramp_field(black: Tensor, white: Tensor, ramps: Sequence[Tensor]) -> CoordinateField:
    """The field from what was made of a black photo, a white one and two ramps, `(c, H, W)` each: any mean, scale and sign."""
    h, w = black.shape[1:]
    ys, xs = (torch.arange(0, n, -(-n // SAMPLES)) for n in (h, w))
    black, white, *ramps = (one[:, ys][..., xs] for one in (black, white, *ramps))
    across, down = (shade_between(black, white, one) for one in ramps)
    return CoordinateField(across, down, xs.double() + 0.5, ys.double() + 0.5, (h, w))


def shade_between(black: Tensor, white: Tensor, seen: Tensor) -> Tensor:
    """Shade `(H, W)` of what is `seen` `(c, H, W)`: 0 as black, 1 as white, NaN where these are alike, as in padding."""
    way = white - black
    weight = way.square().sum(dim=0)
    top = weight.max()
    if not bool(top.isfinite()) or float(top) <= 0:
        raise ColourError("changes colours by the photo's content")
    return torch.where(weight > CONTRAST * top, ((seen - black) * way).sum(dim=0) / weight, torch.nan)


def code_field(codes: np.ndarray, made: tuple[Tensor, Tensor]) -> CoordinateField:
    """The field from what was made of the code photos, `(k, c, H, W)` a side: for any change of colours that keeps their order.

    Every pixel has seen black and white in an order of its own, by which its stripe is found, whatever black and white became.
    """
    h, w = made[0].shape[-2:]
    ys, xs = (torch.arange(0, n, -(-n // (SAMPLES // 2))) for n in (h, w))
    across, down = (_decoded(torch.from_numpy(codes).double(), side[..., ys, :][..., xs]) for side in made)
    return CoordinateField(across, down, xs.double() + 0.5, ys.double() + 0.5, (h, w))


def _decoded(codes: Tensor, seen: Tensor) -> Tensor:
    """Places `(h, w)`, in fractions, of the stripes whose `codes` `(k, n)` are `seen` `(k, c, h, w)`; NaN for none."""
    k, n = codes.shape
    ends = torch.cat([codes[:, :1], codes, codes[:, -1:]], dim=1)  # between two stripes' middles a pixel sees some of both
    part = torch.arange(4).double() / 4
    fine = (ends[:, :-1, None] * (1 - part) + ends[:, 1:, None] * part).reshape(k, -1)
    middles = (torch.arange(n + 1).double()[:, None] - 0.5 + part).flatten() / n
    fine, seen = _unit(fine), seen - seen.mean(dim=0)
    energy = seen.square().sum(dim=(0, 1))
    match = torch.einsum("km,kchw->mchw", fine, seen).square().sum(dim=1)
    best, at = match.max(dim=0)
    return torch.where((energy > CONTRAST * energy.max()) & (best > 0.5 * energy), middles[at], torch.nan)


def _unit(columns: Tensor) -> Tensor:
    columns = columns - columns.mean(dim=0)
    return columns / columns.square().sum(dim=0).sqrt().clamp(min=1e-9)
