"""Boxes around what a map marks, in pixels of the photo: what localisation is measured with, and what figures and pages draw."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from ..core.geometry import Placement, place
from ..metrics.overlap import BoxRule, boxes_on

LONGEST = 1024  # pixels: larger photos are drawn at this size to be cut, and their boxes scaled


def photo_boxes(map: Tensor, placement: Placement, rule: BoxRule = "segment") -> Tensor:
    """The box around the largest connected segment of a map, drawn on the photo as a heatmap is, and cut by `rule`.

    Args:
        map: `(h, w)`, signed and raw.
        placement: Where the map lies on the photo.
        rule: `segment` keeps what reaches 15 % of the map's maximum (Selvaraju et al., IJCV 2020, section 4.1), `otsu` what lies
            above Otsu's threshold.

    Returns:
        `(n, 4)` float64, x0, y0, x1, y1 in pixels of the photo, right and lower edge exclusive; `n` is 1, or 0 where nothing in
        the map is positive, or the model does not know the word.

    Raises:
        ValueError: The map is of regions, which are boxes themselves, or there is no such rule.
    """
    check_box_rule(rule)
    if placement.boxes:
        raise ValueError(
            "boxes: this network reads regions, which are boxes already: e.region_boxes has them, e[word].map their values"
        )
    sides = torch.tensor([placement.width, placement.height] * 2, dtype=torch.float64)
    ratio = min(1.0, LONGEST / float(sides.max()))
    size = max(1, round(placement.height * ratio)), max(1, round(placement.width * ratio))
    found = boxes_on(place(map.nan_to_num(0).clamp(min=0)[None], placement, size)[0], rule)
    return torch.empty(0, 4, dtype=torch.float64) if bool(found.isnan().any()) else (found * sides)[None]


def check_box_rule(rule: str) -> None:
    """Raises ValueError, with the choices, for a rule that there is not."""
    if rule not in get_args(BoxRule):
        raise ValueError(f"unknown rule of boxes {rule!r}; choose from {', '.join(get_args(BoxRule))}")


def chosen_rule(boxes: bool | BoxRule) -> BoxRule | None:
    """The rule that an argument `boxes=` asks for: the paper's for True, none for False."""
    if isinstance(boxes, str):
        check_box_rule(boxes)
        return boxes
    return "segment" if boxes else None
