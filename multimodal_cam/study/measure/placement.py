"""The measures of the study, and the maps that know nothing: a name, a function of maps, boxes and frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...core.geometry import Placement
from ...data.entities import Box
from ...metrics.localization import Tolerance, attention_correctness, average_precision, energy_in_boxes, in_out_ratio, inside
from ...metrics.overlap import best_box_iou, box_iou, obj_iou

Measure = Callable[[Tensor, Sequence[Box], Placement], Tensor]  # maps (k, h, w) of a photo, one thing's boxes -> (k,)
OnFrame = Callable[[Tensor, Sequence[Box], Box], Tensor]  # the same, for those that need not know the photo's size

CONTROLS = {
    "centre": "a Gaussian blob at the photo's centre, sigma a quarter of each side",
    "uniform": "the same everywhere",
    "random": "the cells in a random order; for faithfulness only, elsewhere uniform is what it comes to",
    "activation": "the mean over the layer's channels: what is conspicuous to the encoder",
    "whole": "the map of the whole caption",
    "other_word": "another word of the same caption (another question about the same photo): the mean over all of them",
    "other_answer": "the likeliest other answer to the same question",
    "other_photo": "the same words after the same words, on the next photo",
    "random_weights": "the same words and photo, the trained head's weights shuffled",
}
WITHOUT_METHOD = ("centre", "uniform", "random", "activation")
TOLERANCE = 15  # pixels of the photo, as it was given: the pointing game's (Zhang et al., ECCV 2016)
SIGMA = 0.25


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
    """`hits` with the literature's tolerance: at most 15 pixels of the photo beside the box."""
    return pointing_hits(maps, boxes, placement.frame, (TOLERANCE / placement.width, TOLERANCE / placement.height))


def on_frame(function: OnFrame) -> Measure:
    """A measure that needs to know of the photo only which part of it the grid covers."""
    return lambda maps, boxes, placement: function(maps, boxes, placement.frame)


def per_map(function: Callable[[Tensor, Sequence[Box], Box], float]) -> OnFrame:
    """A measure of one map, taken of each."""

    def measure(maps: Tensor, boxes: Sequence[Box], frame: Box) -> Tensor:
        return torch.tensor([function(map[None], boxes, frame) for map in maps])

    return measure


METRICS: Mapping[str, Measure] = {
    "pointing": on_frame(pointing_hits),
    "pointing_15px": pointing_hits_15px,
    "energy": on_frame(energy_in_boxes),
    "in_out": on_frame(in_out_ratio),
    "box_iou": on_frame(box_iou),
    "best_box_iou": on_frame(best_box_iou),
    "obj_iou": on_frame(obj_iou),
    "attention_correctness": on_frame(per_map(attention_correctness)),
    "average_precision": on_frame(average_precision),
}
DEFAULT = ("pointing", "pointing_15px", "energy", "in_out", "box_iou", "average_precision")
MEDIANS = ("in_out",)  # a ratio may be infinite: reported as a median


def blind_maps(grid: tuple[int, int], placement: Placement) -> dict[str, Tensor]:
    """The controls that see nothing at all, on the grid `(h, w)`."""
    x0, y0, x1, y1 = placement.frame
    xs = x0 + (torch.arange(grid[1]) + 0.5) / grid[1] * (x1 - x0)
    ys = y0 + (torch.arange(grid[0]) + 0.5) / grid[0] * (y1 - y0)
    squared = (xs[None] - 0.5) ** 2 + (ys[:, None] - 0.5) ** 2
    return {"centre": torch.exp(-squared / (2 * SIGMA**2)), "uniform": torch.ones(grid)}


def measure_maps(
    maps: Sequence[Tensor], boxes: Sequence[Box], placement: Placement, metrics: Sequence[str]
) -> dict[str, list[float]]:
    """Every metric of every map `(h, w)`: NaN for a map with NaN, which was never computed."""
    found = {name: torch.full((len(maps),), torch.nan, dtype=torch.float64) for name in metrics}
    grids: dict[torch.Size, list[int]] = {}
    for i, map in enumerate(maps):
        if not map.isnan().any():
            grids.setdefault(map.shape, []).append(i)
    for places in grids.values():
        stack = torch.stack([maps[i] for i in places])
        for name in metrics:
            found[name][places] = METRICS[name](stack, boxes, placement).double()
    return {name: values.tolist() for name, values in found.items()}
