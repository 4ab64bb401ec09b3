"""Overlap with the thing's boxes: intersection over union of the box around a map, and of the map's foreground.

Maps are `(h, w)`, signed and raw; negative relevance is cut off. They are drawn finer before they are cut, bilinearly, `size`
cells a side (the papers: at the image's size). Boxes and `frame` as in `localization.py`; a map with nothing positive marks
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from scipy import ndimage  # type: ignore[import-untyped]
from torch import Tensor

from .localization import DRAWN, WHOLE, Box, coverage, drawn, grid_of

BoxRule = Literal["segment", "otsu"]  # what of a map a box is drawn around: 15 % of its maximum, or Otsu's foreground
HIT = 0.5  # overlap from which a box counts as found, as in ILSVRC (Russakovsky et al., IJCV 2015, section 4.2)
THRESHOLD = 0.15  # of the map's maximum, as in the Grad-CAM paper
THRESHOLDS = tuple(i / 20 for i in range(1, 20))
_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)  # connects cells that share an edge, but not the maps of a stack
_NEIGHBOURS[1] = ndimage.generate_binary_structure(2, 1)


# ---- the box around a map --------------------------------------------------------------------------------------------------


def boxes_around(maps: Tensor, frame: Box = WHOLE, threshold: float = THRESHOLD, size: int = DRAWN) -> Tensor:
    """The tightest box around the largest connected part of each map that reaches `threshold` times its maximum.

    Maps `(..., h, w)` -> boxes `(..., 4)` float64 in fractions of the image, NaN for a map with nothing positive. Grad-CAM's
    localisation (Selvaraju et al., IJCV 2020, section 4.1: 15 % of the maximum), after CAM's (Zhou et al., CVPR 2016). Cells
    are connected by edges; of equally large parts the first in reading order counts.
    """
    return _around(_marked(maps, [threshold], size)[0], frame)


def boxes_on(drawn: Tensor, rule: BoxRule = "segment") -> Tensor:
    """The tightest box around the largest connected part of what `rule` leaves of maps that are drawn already.

    `segment` is the rule of `boxes_around`; `otsu` takes what lies above Otsu's threshold of the positive relevance.

    Args:
        drawn: `(..., H, W)`, at the resolution at which they are to be cut.

    Returns:
        Boxes `(..., 4)` float64 in fractions of the maps' sides; NaN for a map with nothing positive.
    """
    fine = drawn.relu()
    return _around(_foreground(fine) if rule == "otsu" else _reaching(fine, THRESHOLD), WHOLE)


def otsu_box_iou(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE, size: int = DRAWN) -> Tensor:
    """`box_iou` of the box around the largest connected part above Otsu's threshold: maps `(..., h, w)` -> `(...)` in 0..1."""
    return best_iou(_around(_foreground(drawn(maps.relu(), size)), frame), boxes)


def box_iou(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE, threshold: float = THRESHOLD, size: int = DRAWN) -> Tensor:
    """Intersection over union of `boxes_around` with that one of `boxes` that it meets best: maps `(..., h, w)` -> `(...)` in
    0..1, 0 for a map with nothing positive. The papers call 0.5 a hit."""
    return best_iou(boxes_around(maps, frame, threshold, size), boxes)


def box_hits(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE) -> Tensor:
    """Whether `box_iou` is at least .5, what ILSVRC counts as localised: maps `(..., h, w)` -> `(...)`, 0 or 1."""
    return (box_iou(maps, boxes, frame) >= HIT).double()


def otsu_box_hits(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE) -> Tensor:
    """The same of `otsu_box_iou`."""
    return (otsu_box_iou(maps, boxes, frame) >= HIT).double()


def best_box_iou(
    maps: Tensor,
    boxes: Sequence[Box],
    frame: Box = WHOLE,
    thresholds: Sequence[float] = THRESHOLDS,
    size: int = DRAWN,
) -> Tensor:
    """`box_iou` at the best of `thresholds` for each map, in 0..1: depends on the map's shape, not on its scale.

    An upper bound of MaxBoxAcc's (Choe et al., CVPR 2020), which chooses one threshold for a whole dataset.
    """
    return best_iou(_around(_marked(maps, thresholds, size), frame), boxes).amax(dim=0)


def _marked(maps: Tensor, thresholds: Sequence[float], size: int) -> Tensor:
    """The cells that reach each of `thresholds` times the map's maximum: `(n, ..., size, size)`."""
    fine = drawn(maps.relu(), size)
    return torch.stack([_reaching(fine, threshold) for threshold in thresholds])


def _reaching(fine: Tensor, threshold: float) -> Tensor:
    """The cells of maps `(..., H, W)` that reach `threshold` times their maximum; none where nothing is positive."""
    top = fine.amax(dim=(-2, -1), keepdim=True)
    return (fine >= threshold * top) & (top > 0)


def _foreground(fine: Tensor) -> Tensor:
    """The cells of maps `(..., H, W)` above Otsu's threshold."""
    return fine > otsu(fine.flatten(-2))[..., None, None]


def _around(marked: Tensor, frame: Box) -> Tensor:
    height, width = grid_of(marked)
    stack = marked.reshape(-1, height, width).cpu().numpy()
    largest = _largest_parts(stack)
    columns, rows = (torch.from_numpy(largest.any(axis=axis)) for axis in (1, 2))
    (x, right), (y, bottom) = _extent(columns), _extent(rows)
    x0, y0, x1, y1 = frame
    edges = torch.stack([x, y, right, bottom], dim=-1).double()
    start, side = edges.new_tensor([x0, y0, x0, y0]), edges.new_tensor([x1 - x0, y1 - y0] * 2)
    found = start + edges / edges.new_tensor([width, height] * 2) * side
    found[~rows.any(dim=1)] = torch.nan
    return found.reshape(*marked.shape[:-2], 4)


def _largest_parts(stack: np.ndarray) -> np.ndarray:
    """Masks `(n, h, w)` -> the largest connected part of each, in one pass over all of them."""
    parts, count = ndimage.label(stack, _NEIGHBOURS)
    ids = np.arange(1, count + 1)
    last = np.maximum.accumulate(parts.reshape(len(stack), -1).max(axis=1))  # parts are numbered in reading order
    owner = np.searchsorted(last, ids)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    order = np.lexsort((-ids, sizes, owner))  # by mask, then by size, first parts last among equals
    chosen = np.full(len(stack), -1)
    chosen[owner[order]] = ids[order]  # the last one written stays: the largest
    return np.asarray(parts == chosen[:, None, None])


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First index and end index (exclusive) of the true entries of `(n, s)`."""
    marks = occupied.int()
    return marks.argmax(dim=1), marks.shape[1] - marks.flip(1).argmax(dim=1)


def best_iou(found: Tensor, boxes: Sequence[Box]) -> Tensor:
    """Intersection over union of boxes `(..., 4)` float64 with that one of `boxes` that each meets best `(...)`, 0 for NaN."""
    own, others = found[..., None, :], torch.tensor(boxes, dtype=torch.float64)
    sides = (torch.minimum(own[..., 2:], others[:, 2:]) - torch.maximum(own[..., :2], others[:, :2])).clamp(min=0)
    shared = sides.prod(dim=-1)
    union = _area(own) + _area(others) - shared
    return (shared / union).nan_to_num(0).amax(dim=-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)


# ---- the foreground of a map: TAM's measures of a caption --------------------------------------------------------------------


def otsu(values: Tensor) -> Tensor:
    """Otsu's threshold (IEEE Trans. SMC, 1979) of `(..., n)` values -> `(...)`: those *above* it are the foreground.

    The largest value of the background that leaves the most variance between the two, over all `n - 1` ways to cut: no histogram.
    Equal values have no foreground: the threshold is their value.
    """
    ranked = values.double().sort(dim=-1).values
    n = ranked.shape[-1]
    below = torch.arange(1, n, device=values.device)
    sums = ranked.cumsum(dim=-1)
    low = sums[..., :-1] / below
    high = (sums[..., -1:] - sums[..., :-1]) / (n - below)
    between = below * (n - below) * (high - low) ** 2
    possible = ranked[..., 1:] > ranked[..., :-1]  # equal values stay together
    cut = torch.where(possible, between, -1).argmax(dim=-1, keepdim=True)
    threshold = torch.where(possible.any(dim=-1), ranked.gather(-1, cut)[..., 0], ranked[..., -1])
    return threshold.to(values.dtype)


def obj_iou(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE, size: int = DRAWN) -> Tensor:
    """Intersection over union of each map's foreground with the union of `boxes`: maps `(..., h, w)` -> `(...)` in 0..1.

    TAM's Obj-IoU of a noun (Li et al., ICCV 2025), with boxes where it has masks: figures compare with each other, not with
    the paper's. The foreground is what Otsu's threshold leaves of the drawn map.
    """
    fine = drawn(maps.relu(), size)
    marked = _foreground(fine).double()
    covered = coverage(boxes, grid_of(fine), frame).to(marked.device)
    shared = (marked * covered).sum(dim=(-2, -1))
    return (shared / (marked + covered - marked * covered).sum(dim=(-2, -1))).nan_to_num(0)
