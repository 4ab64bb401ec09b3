"""Localisation of maps `(h, w)`, signed and raw, against the boxes of a thing.

Boxes are `(x0, y0, x1, y1)` in fractions of the image's width and height, so no size in pixels is needed; several boxes are one
region, their union. `frame` is the part of the image that the grid covers, in the same fractions. A cell that boxes cover partly
counts by the covered share of its area, exactly. Negative relevance is cut off (the papers' ReLU) where a sum or a mean is taken.
A map with nothing positive marks no place; a map with NaN was never computed and is an error.

The pointing game (Zhang, Lin, Brandt, Shen, Sclaroff, ECCV 2016, section 4.1). A map points at the *centre of its largest cell*,
ties go to the first in reading order. It hits when that point lies inside any of the thing's boxes, edges included, or at most
`tolerance` away from one: nothing by default, 15 pixels in the paper.

Most boxes of most photos cover the image's centre, so a map that always peaks there looks good. Two remedies: look at the boxes
that miss the centre (`off_centre`), and beside every figure at those of maps that know nothing of the word: the image centre
(`points_at_centre`), the mean activation, and the map of another word of the same text (`others`). A map that is the same
everywhere has an `energy_in_boxes` of the boxes' share of the area, an `in_out_ratio` of 1 and an `average_precision` of the
share of cells that are labelled. `overlap.py` compares boxes and masks that are made of maps.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Box = tuple[float, float, float, float]
Tolerance = float | tuple[float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
DRAWN = 56  # cells a side of a map drawn finer: a multiple of 7 and 14, boxes are met to within 2 % of the image's side


def peak(map: Tensor, frame: Box = WHOLE) -> tuple[float, float] | None:
    """The centre `(x, y)` of the largest cell of `map` `(h, w)`; None when nothing in it is positive.

    Raises ValueError for NaN and for another number of dimensions.
    """
    if map.ndim != 2:
        raise ValueError(f"expected one map (h, w), got shape {tuple(map.shape)}")
    refuse_nan(map)
    if not bool((map > 0).any()):
        return None
    first = int((map == map.max()).flatten().int().argmax())
    row, column = divmod(first, map.shape[1])
    x0, y0, x1, y1 = frame
    return x0 + (column + 0.5) / map.shape[1] * (x1 - x0), y0 + (row + 0.5) / map.shape[0] * (y1 - y0)


def inside(point: tuple[float, float], boxes: Sequence[Box], tolerance: Tolerance = 0.0) -> bool:
    """Whether `point` lies in any of `boxes`, edges included, or at most `tolerance` away.

    `tolerance` is a fraction of the image's sides, or one of its width and one of its height: the paper's 15 pixels are
    `(15 / width, 15 / height)`, a disc on the image. Raises ValueError when there is no box: nothing can hit.
    """
    if not boxes:
        raise ValueError("the pointing game needs at least one box")
    x, y = point
    tx, ty = tolerance if isinstance(tolerance, tuple) else (tolerance, tolerance)
    for x0, y0, x1, y1 in boxes:
        dx, dy = max(x0 - x, 0.0, x - x1), max(y0 - y, 0.0, y - y1)
        # (dx / tx)^2 + (dy / ty)^2 <= 1, which a tolerance of 0 must not divide by
        if dx <= tx and dy <= ty and (dx * ty) ** 2 + (dy * tx) ** 2 <= (tx * ty) ** 2:
            return True
    return False


def points_at(map: Tensor, boxes: Sequence[Box], frame: Box = WHOLE, tolerance: Tolerance = 0.0) -> bool:
    """Whether `map` `(h, w)` peaks inside any of `boxes`; False when nothing in it is positive."""
    point = peak(map, frame)
    return inside(point, boxes, tolerance) if point is not None else False


def pointing(maps: Sequence[Tensor], boxes: Sequence[Sequence[Box]], frame: Box = WHOLE, tolerance: Tolerance = 0.0) -> Tensor:
    """The pointing game over many maps, each with its own boxes: hits `(k,)`, bool; their mean is the paper's accuracy."""
    hits = [points_at(map, own, frame, tolerance) for map, own in zip(maps, boxes, strict=True)]
    return torch.tensor(hits, dtype=torch.bool)


def points_at_centre(boxes: Sequence[Box]) -> bool:
    """Control without a map: whether the image's centre is inside any of `boxes`."""
    return inside((0.5, 0.5), boxes)


def off_centre(boxes: Sequence[Box]) -> bool:
    """Whether no box contains the image's centre, so that a centred map misses."""
    return not points_at_centre(boxes)


def others(groups: Sequence[Hashable]) -> list[list[int]]:
    """Indices, for each item, of the items of other groups; empty where there are none.

    For the control "another word's map": items are the words of one text, groups the things that they speak of. The mean over
    all of them is what a random other word's map would get on average, without the dice.
    """
    return [[j for j, other in enumerate(groups) if other != own] for own in groups]


# ---- how much of a map is in the boxes: many maps of one thing at once -----------------------------------------------------


def coverage(boxes: Sequence[Box], grid: tuple[int, int], frame: Box = WHOLE) -> Tensor:
    """The share of each cell's area that the union of `boxes` covers: `(h, w)` float64 in 0..1, exact."""
    x0, y0, x1, y1 = frame
    corners = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 2, 2)  # (boxes, from and to, x and y)
    start, side = corners.new_tensor([x0, y0]), corners.new_tensor([x1 - x0, y1 - y0])
    cells = corners.new_tensor([grid[1], grid[0]])
    corners = ((corners - start) / side * cells).clamp(torch.zeros_like(cells), cells)
    in_x, columns = _stripes(corners[:, :, 0], grid[1])
    in_y, rows = _stripes(corners[:, :, 1], grid[0])
    union = (in_y[:, :, None] & in_x[:, None, :]).any(dim=0)
    return (rows @ union.double() @ columns.T).clamp(max=1)


def _stripes(edges: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Cuts one axis of the grid at cells' and boxes' edges `(boxes, 2)`: which stripes are in which box `(boxes, s)`, and
    how much of each cell each stripe is `(cells, s)`."""
    cuts = torch.cat([torch.arange(cells + 1, dtype=torch.float64), edges.flatten()]).sort().values
    middles = (cuts[1:] + cuts[:-1]) / 2
    within = (edges[:, :1] < middles) & (middles < edges[:, 1:])
    return within, (middles.floor() == torch.arange(cells)[:, None]) * cuts.diff()


def energy_in_boxes(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE) -> Tensor:
    """The share of each map's positive relevance that lies in `boxes`: maps `(..., h, w)` -> `(...)` in 0..1, 0 for a map with
    nothing positive.

    The energy-based pointing game (Score-CAM, Wang et al., CVPR workshops 2020, section 4.3).
    """
    covered, photo = _areas(maps, boxes, frame)
    total = (maps.relu() * photo).sum(dim=(-2, -1))
    return _ratio((maps.relu() * covered).sum(dim=(-2, -1)), total).nan_to_num(0)


def in_out_means(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE) -> tuple[Tensor, Tensor]:
    """The mean positive relevance inside and outside `boxes`: maps `(..., h, w)` -> two `(...)` >= 0.

    NaN inside when the grid sees nothing of the boxes, outside when they cover all of it. What a frame covers outside the image
    is no part of either.
    """
    covered, photo = _areas(maps, boxes, frame)
    rest = photo - covered
    rest = torch.where(rest < 1e-6, 0, rest)  # rounding error of a covered cell
    positive = maps.relu()
    means = [_ratio((positive * area).sum(dim=(-2, -1)), area.sum()) for area in (covered, rest)]
    return means[0], means[1]


def in_out_ratio(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE) -> Tensor:
    """Mean positive relevance inside `boxes` over the mean outside: maps `(..., h, w)` -> `(...)` >= 0; 1 for a uniform map.

    The Grad-CAM paper's measure of captions (Selvaraju et al., ICCV 2017, section 7.1, boxes of dense captions: 3.27 +- 0.18).
    `inf` when nothing positive is outside, NaN when there is none anywhere or one side is empty: average with the median, or
    divide the means of `in_out_means`.
    """
    within, outside = in_out_means(maps, boxes, frame)
    return within / outside


def attention_correctness(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE, size: int = DRAWN) -> float:
    """The share in 0..1 of the attention of a phrase's words, maps `(t, h, w)`, that lies in `boxes`: that of its best word.

    Attention Correctness (Liu, Mao, Sha, Yuille, AAAI 2017): the map drawn at the image's size and summed to 1, the maximum over
    the phrase's words. Drawn here `size` cells a side, bilinearly; other maps than attention are cut at 0 first.
    """
    return float(energy_in_boxes(drawn(maps.relu(), size), boxes, frame).max())


def average_precision(maps: Tensor, boxes: Sequence[Box], frame: Box = WHOLE) -> Tensor:
    """How well the maps rank cells of the thing above others: maps `(..., h, w)` -> `(...)` in 0..1.

    A cell is the thing's when `boxes` cover more than half of it; signed values are ranked, equal ones share their rank: the mean
    over the thing's cells of the precision at their value. NaN when no cell is the thing's.
    """
    refuse_nan(maps)
    labels = (coverage(boxes, grid_of(maps), frame) > 0.5).flatten().to(maps.device)
    values = maps.flatten(-2)
    positives = values[..., labels].sort(dim=-1).values
    ranked = values.sort(dim=-1).values
    as_high = values.shape[-1] - torch.searchsorted(ranked, positives)
    right = positives.shape[-1] - torch.searchsorted(positives, positives)
    return (right / as_high).mean(dim=-1)


def drawn(maps: Tensor, size: int) -> Tensor:
    """Maps `(..., h, w)` drawn finer, bilinearly: `(..., size, size)`; no coarser than they are."""
    refuse_nan(maps)
    height, width = (max(size, side) for side in grid_of(maps))
    finer = F.interpolate(maps.reshape(-1, 1, *grid_of(maps)), (height, width), mode="bilinear", align_corners=False)
    return finer.reshape(*maps.shape[:-2], height, width)


def grid_of(maps: Tensor) -> tuple[int, int]:
    """`(h, w)`."""
    return maps.shape[-2], maps.shape[-1]


def refuse_nan(maps: Tensor) -> None:
    """Raises ValueError for a map that was never computed."""
    if bool(maps.isnan().any()):
        raise ValueError("the map holds NaN: leave out words that the model does not know")


def _areas(maps: Tensor, boxes: Sequence[Box], frame: Box) -> tuple[Tensor, Tensor]:
    """The share of each cell `(h, w)` that is in the boxes, and in the image."""
    refuse_nan(maps)
    covered, photo = (coverage(part, grid_of(maps), frame).to(maps) for part in (boxes, [WHOLE]))
    return covered, photo


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """NaN where `whole` is 0, however tiny the map."""
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1), torch.nan)
