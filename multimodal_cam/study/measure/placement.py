"""Localisation metrics: maps against the boxes of the things that their words name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...core.geometry import Placement
from ...data.readers.voc_annotation import Box
from ...metrics.localization import Tolerance, attention_correctness, average_precision, energy_in_boxes, in_out_ratio, inside
from ...metrics.overlap import best_box_iou, box_hits, box_iou, obj_iou, otsu_box_hits
from .metric_spec import MetricSpec

Measure = Callable[[Tensor, Sequence[Box], Placement], Tensor]  # maps (k, h, w) of a photo, boxes of one thing -> (k,)
OnFrame = Callable[[Tensor, Sequence[Box], Box], Tensor]  # the same, without the photo's size

TOLERANCE = 15  # pixels of the original photo, as in the pointing game (Zhang et al., ECCV 2016)


def pointing_hits(maps: Tensor, boxes: Sequence[Box], frame: Box, tolerance: Tolerance = 0.0) -> Tensor:
    """`points_at`, but where several cells share the maximum, the share of them that hit: what a fair choice among them would.

    So that a map that is the same everywhere hits as often as a random cell does, and not as often as the first.
    """
    h, w = maps.shape[-2:]
    x0, y0, x1, y1 = frame
    xs, ys = ([start + (i + 0.5) / n * (stop - start) for i in range(n)] for start, stop, n in ((x0, x1, w), (y0, y1, h)))
    right = torch.tensor([[inside((x, y), boxes, tolerance) for x in xs] for y in ys])
    top = maps.amax(dim=(-2, -1))
    largest = maps == top[..., None, None]
    share = (largest & right).sum(dim=(-2, -1)) / largest.sum(dim=(-2, -1))
    return torch.where(top > 0, share, 0)


def pointing_hits_15px(maps: Tensor, boxes: Sequence[Box], placement: Placement) -> Tensor:
    """`hits` with the tolerance of the literature: at most 15 pixels of the photo outside the box."""
    return pointing_hits(maps, boxes, placement.frame, (TOLERANCE / placement.width, TOLERANCE / placement.height))


def on_frame(function: OnFrame) -> Measure:
    """Measure of a function that takes only the frame of the placement."""
    return lambda maps, boxes, placement: function(maps, boxes, placement.frame)


def per_map(function: Callable[[Tensor, Sequence[Box], Box], float]) -> OnFrame:
    """Measure of a function of one map."""

    def measure(maps: Tensor, boxes: Sequence[Box], frame: Box) -> Tensor:
        return torch.tensor([function(map[None], boxes, frame) for map in maps])

    return measure


METRICS: Mapping[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "pointing",
            on_frame(pointing_hits),
            "0 to 1",
            "whether the centre of the largest cell lies in a box",
            "Zhang et al., ECCV 2016",
            default=True,
        ),
        MetricSpec(
            "pointing_15px",
            pointing_hits_15px,
            "0 to 1",
            "the same, at most 15 pixels of the photo beside a box",
            "Zhang et al., ECCV 2016",
            default=True,
        ),
        MetricSpec(
            "energy",
            on_frame(energy_in_boxes),
            "0 to 1",
            "share of the positive relevance that lies in the boxes",
            "Score-CAM, Wang et al., CVPR workshops 2020",
            default=True,
        ),
        MetricSpec(
            "in_out",
            on_frame(in_out_ratio),
            "0 or more",
            "mean positive relevance in the boxes over the mean outside",
            "Grad-CAM, Selvaraju et al., ICCV 2017, section 7.1",
            median=True,
            default=True,
        ),
        MetricSpec(
            "box_iou",
            on_frame(box_iou),
            "0 to 1",
            "overlap of the box around what reaches 15 % of the maximum",
            "Grad-CAM, Selvaraju et al., IJCV 2020",
            default=True,
        ),
        MetricSpec(
            "box_hit",
            on_frame(box_hits),
            "0 or 1",
            "whether that box overlaps one of the thing's by .5 or more: 1 less the localisation error",
            "ILSVRC, Russakovsky et al., IJCV 2015",
        ),
        MetricSpec(
            "otsu_box_hit",
            on_frame(otsu_box_hits),
            "0 or 1",
            "the same of the box around what lies above Otsu's threshold",
            "ILSVRC, Russakovsky et al., IJCV 2015",
        ),
        MetricSpec(
            "best_box_iou",
            on_frame(best_box_iou),
            "0 to 1",
            "the same at the best threshold of each map",
            "after MaxBoxAcc, Choe et al., CVPR 2020",
        ),
        MetricSpec(
            "obj_iou",
            on_frame(obj_iou),
            "0 to 1",
            "overlap of the map's foreground with the boxes",
            "TAM, Li et al., ICCV 2025",
        ),
        MetricSpec(
            "attention_correctness",
            on_frame(per_map(attention_correctness)),
            "0 to 1",
            "share of the map that lies in the boxes",
            "Liu et al., AAAI 2017",
        ),
        MetricSpec(
            "average_precision",
            on_frame(average_precision),
            "0 to 1",
            "average precision of the cells that the boxes cover by more than half",
            "no paper: cells that share a value share its rank",
            default=True,
        ),
    )
}
DEFAULT = tuple(name for name, spec in METRICS.items() if spec.default)


def measure_maps(
    maps: Sequence[Tensor], boxes: Sequence[Box], placement: Placement, metrics: Sequence[str]
) -> dict[str, list[float]]:
    """All metrics of all maps `(h, w)`; NaN for a map that holds NaN because it was never computed."""
    found = {name: torch.full((len(maps),), torch.nan, dtype=torch.float64) for name in metrics}
    grids: dict[torch.Size, list[int]] = {}
    for i, map in enumerate(maps):
        if not map.isnan().any():
            grids.setdefault(map.shape, []).append(i)
    for places in grids.values():
        stack = torch.stack([maps[i] for i in places])
        for name in metrics:
            found[name][places] = METRICS[name].function(stack, boxes, placement).double()
    return {name: values.tolist() for name, values in found.items()}
