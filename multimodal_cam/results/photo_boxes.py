"""Boxes around what a map marks, in pixels of the photo: what localisation is measured with, and what figures and pages draw."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from ..core.geometry import Placement
from ..metrics.overlap import BoxRule, boxes_on
from .explanation_data import ExplanationData
from .heat_scale import full_heat, positive_on_photo

LONGEST = 1024  # pixels: larger photos are drawn at this size to be cut, and their boxes scaled


def photo_boxes(explanation: ExplanationData, map: Tensor, rule: BoxRule = "segment") -> Tensor:
    """`map_boxes` of one of an explanation's maps `(h, w)`."""
    return map_boxes(map, explanation.placement, rule, of_pixels=explanation.pixel_maps is not None)


def map_boxes(map: Tensor, placement: Placement, rule: BoxRule = "segment", *, of_pixels: bool = False) -> Tensor:
    """The box around the largest connected segment of a map, drawn on the photo as a heatmap is, and cut by `rule`.

    Args:
        map: `(h, w)`, signed and raw.
        placement: Where the map lies on the photo.
        rule: `segment` keeps what reaches 15 % of the map's maximum (Selvaraju et al., IJCV 2020, section 4.1), `otsu` what lies
            above Otsu's threshold.
        of_pixels: Whether the map is of pixels, whose few largest values count as its maximum, as in its heatmap.

    Returns:
        `(n, 4)` float64, x0, y0, x1, y1 in pixels of the photo, right and lower edge exclusive; `n` is 1, or 0 where nothing in
        the map is positive, or the model does not know the word.

    Raises:
        ValueError: The map is of regions, which are boxes themselves, or there is no such rule.
    """
    check_box_rule(rule)
    if placement.boxes:
        raise ValueError(
            "boxes: this network reads regions, boxes already: e.region_boxes has them, and e[word].map their values"
        )
    sides = torch.tensor([placement.width, placement.height] * 2, dtype=torch.float64)
    ratio = min(1.0, LONGEST / float(sides.max()))
    width, height = (max(1, round(side * ratio)) for side in (placement.width, placement.height))
    heat = positive_on_photo(map[None], replace(placement, width=width, height=height), of_pixels=of_pixels)[0]
    found = boxes_on(heat.clamp(max=full_heat(heat, of_pixels=of_pixels)), rule)
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
