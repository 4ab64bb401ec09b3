"""Sanity checks for saliency maps (Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, NeurIPS 2018): does a map depend on what
the network has learned, and on what it was asked about?

Maps of the trained network are compared with those of a network that knows less and less, from the head down (`cascade` of
`core.randomization` gives it), and with those for a random other caption. A map that stays the same shows the photo and
not the model. Three similarities, as in the paper's figure: SSIM, and Spearman's rank correlation with and without absolute
values.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .map_correlation import rank_correlation

WINDOW = 5  # cells, in each direction; and maps in -1..1: the authors' figures (issue 2 of adebayoj/sanity_checks_saliency)
_RANGE = 2.0
_K1, _K2 = 0.01, 0.03  # Wang et al. 2004, section III.B


@dataclass(frozen=True)
class Similarity:
    """Similarity of the map of `item` before and after `stage`: 1 for equal maps, NaN for correlations of constant maps."""

    stage: str
    item: int
    ssim: float
    rank: float
    rank_abs: float


def similarities(before: Tensor, stages: Iterable[tuple[str, Tensor]]) -> list[Similarity]:
    """One record for each stage and map: maps `before` `(k, h, w)` against each stage's `(k, h, w)`, in their order.

    `stages` may be a generator that explains as it goes: `((name, explain(model, ...).maps) for name in stages)`.
    """
    records = []
    for stage, after in stages:
        if after.shape != before.shape:
            raise ValueError(f"{stage}: expected maps of shape {tuple(before.shape)} as before, got {tuple(after.shape)}")
        measured = zip(
            ssim(before, after).tolist(),
            rank_correlation(before, after).tolist(),
            rank_correlation(before.abs(), after.abs()).tolist(),
            strict=True,
        )
        records += [Similarity(stage, i, *values) for i, values in enumerate(measured)]
    return records


def ssim(a: Tensor, b: Tensor, window: int = WINDOW) -> Tensor:
    """Structural similarity `(...)` of maps `(..., h, w)`, in -1..1, 1 for equal maps (Wang, Bovik, Sheikh, Simoncelli, IEEE
    Transactions on Image Processing 2004, eq. 13, mean over windows: eq. 17).

    Each map is divided by its largest magnitude first, so its scale does not matter and 0 stays 0. Windows weigh their cells
    alike and lie inside the map. The number depends on the grid: only maps of one size compare.
    Raises ValueError for maps smaller than a window.
    """
    if a.shape != b.shape or min(a.shape[-2:]) < window:
        raise ValueError(
            f"SSIM: expected two maps of one size, at least {window} x {window}, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, b = _scaled(a), _scaled(b)
    mean_a, mean_b = _means(a, window), _means(b, window)
    unbiased = window**2 / (window**2 - 1)
    var_a = unbiased * (_means(a * a, window) - mean_a**2)
    var_b = unbiased * (_means(b * b, window) - mean_b**2)
    covariance = unbiased * (_means(a * b, window) - mean_a * mean_b)
    c1, c2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return (luminance * structure).mean(dim=(-2, -1))


def random_others(groups: Sequence[Hashable], seed: int = 0) -> list[int]:
    """For each item the index of one of another group, any of them equally likely: for the control "a random other caption",
    items are captions and groups their photos.

    Raises ValueError when there is one group only.
    """
    places: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        places.setdefault(group, []).append(i)
    if len(places) < 2:
        raise ValueError(f"a random other one needs two groups or more, got {len(places)}")
    grouped = [i for own in places.values() for i in own]  # items of a group are adjacent, so that all others form the rest
    generator = torch.Generator().manual_seed(seed)
    chosen = [0] * len(groups)
    start = 0
    for own in places.values():
        drawn = torch.randint(len(groups) - len(own), (len(own),), generator=generator).tolist()
        for i, other in zip(own, drawn, strict=True):
            chosen[i] = grouped[other if other < start else other + len(own)]
        start += len(own)
    return chosen


def _scaled(maps: Tensor) -> Tensor:
    """In -1..1, float64; a map of zeros stays one."""
    top = maps.double().abs().amax(dim=(-2, -1), keepdim=True)
    return maps.double() / torch.where(top == 0, 1.0, top)


def _means(maps: Tensor, window: int) -> Tensor:
    """Mean of every window."""
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    means = F.avg_pool2d(flat, window, stride=1)
    return means.reshape(*maps.shape[:-2], *means.shape[-2:])
