"""The pointing game (Zhang, Lin, Brandt, Shen, Sclaroff, ECCV 2016, section 4.1): does a map peak on the
thing it is of?

Protocol. A map points at the *centre of its largest cell*, ties go to the first in reading order. It hits
when that point lies inside any of the thing's boxes, edges included. There is no tolerance around the box
(the paper allows 15 pixels). A map with nothing positive speaks for no place: a miss. A map with NaN was
never computed: an error.

Boxes are `(x0, y0, x1, y1)` in fractions of the image's width and height, so no size in pixels is needed.

Most boxes of most photos cover the image's centre, so a map that always peaks there looks good. Two remedies:
look at the boxes that miss the centre (`off_centre`), and beside every figure at those of maps that know
nothing of the word: the image centre (`points_at_centre`), the mean activation, and the map of another word
of the same text (`others`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def peak(map: Tensor, frame: Box = WHOLE) -> tuple[float, float] | None:
    """The centre `(x, y)` of the largest cell of `map` `(h, w)`; None when nothing in it is positive.

    `frame` is the part of the image that the grid covers. Raises ValueError for NaN and for another number of
    dimensions.
    """
    if map.ndim != 2:
        raise ValueError(f"expected one map (h, w), got shape {tuple(map.shape)}")
    if bool(map.isnan().any()):
        raise ValueError("the map holds NaN: leave words that the model does not know out of the pointing game")
    if not bool((map > 0).any()):
        return None
    first = int((map == map.max()).flatten().int().argmax())
    row, column = divmod(first, map.shape[1])
    x0, y0, x1, y1 = frame
    return x0 + (column + 0.5) / map.shape[1] * (x1 - x0), y0 + (row + 0.5) / map.shape[0] * (y1 - y0)


def inside(point: tuple[float, float], boxes: Sequence[Box]) -> bool:
    """Whether `point` lies in any of `boxes`, edges included. Raises ValueError when there is no box: nothing
    can hit."""
    if not boxes:
        raise ValueError("the pointing game needs at least one box")
    x, y = point
    return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes)


def points_at(map: Tensor, boxes: Sequence[Box], frame: Box = WHOLE) -> bool:
    """Whether `map` `(h, w)` peaks inside any of `boxes`; False when nothing in it is positive."""
    point = peak(map, frame)
    return inside(point, boxes) if point is not None else False


def pointing(maps: Sequence[Tensor], boxes: Sequence[Sequence[Box]], frame: Box = WHOLE) -> Tensor:
    """The pointing game over many maps, each with its own boxes: hits `(k,)`, bool; their mean is the paper's
    accuracy."""
    return torch.tensor([points_at(map, own, frame) for map, own in zip(maps, boxes, strict=True)], dtype=torch.bool)


def points_at_centre(boxes: Sequence[Box]) -> bool:
    """The control that looks at nothing: whether the image's centre is inside any of `boxes`."""
    return inside((0.5, 0.5), boxes)


def off_centre(boxes: Sequence[Box]) -> bool:
    """Whether no box contains the image's centre, so that a centred map misses."""
    return not points_at_centre(boxes)


def others(groups: Sequence[Hashable]) -> list[list[int]]:
    """For each item the indices of those of another group; empty where all are of its own.

    For the control "another word's map": items are the words of one text, groups the things that they speak
    of. The mean over all of them is what a random other word's map would get on average, without the dice.
    """
    return [[j for j, other in enumerate(groups) if other != own] for own in groups]
