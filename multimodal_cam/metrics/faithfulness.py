"""Faithfulness of maps: metrics that perturb one image and score its `t` words again.

The perturbed *canvas* `(c, H, W)` is the pixels, or the activations of the tapped layer, which saves the backbone pass. Removed
places take the values of `fill`, broadcastable to the canvas: `mean_colour` or `blurred` pixels, or the activations of no photo.
Maps `(t, h, w)`, signed and raw, one a word, are interpolated bilinearly onto the canvas when their grid differs.

The model is a `Score` (canvas_scores.py), of log-probabilities in nats here; curves take probabilities as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .canvas_scores import (
    Score,
    blended,
    cell_blocks,
    drawn_on,
    filled,
    imputed,
    largest_places,
    own_word_scores,
    place_count,
    run_scores,
    shared_scores,
    step_counts,
)
from .localization import refuse_nan
from .map_correlation import rank_correlation

PERCENT = tuple(i / 10 for i in range(1, 10))


@dataclass(frozen=True)
class PerturbationCurve:
    """Scores `(t, s)` of the words at the perturbed shares `fractions` `(s,)` of the canvas: deletion, insertion, ROAD."""

    fractions: Tensor
    scores: Tensor

    @property
    def auc(self) -> Tensor:
        """The area under each word's curve `(t,)`, by trapezoids, in the score's unit."""
        return torch.trapezoid(self.scores, self.fractions, dim=-1)

    @property
    def mean(self) -> Tensor:
        """The mean over the fractions `(t,)`."""
        return self.scores.mean(dim=-1)


# ---- fills of removed places -----------------------------------------------------------------------------------------------


def mean_colour(canvas: Tensor) -> Tensor:
    """The mean of each channel `(c, 1, 1)`."""
    return canvas.mean(dim=(1, 2), keepdim=True)


def blurred(canvas: Tensor, kernel: int = 11, sigma: float = 5.0) -> Tensor:
    """The canvas `(c, H, W)` under a Gaussian of `kernel` pixels (odd), RISE's for 224 x 224; edges are mirrored."""
    at = torch.arange(kernel, device=canvas.device, dtype=canvas.dtype) - kernel // 2
    bell = (-(at**2) / (2 * sigma**2)).exp()
    bell = bell / bell.sum()
    padded = F.pad(canvas[:, None], [kernel // 2] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))[:, 0]


# ---- perturbations ordered by each word's map -------------------------------------------------------------------------------


def deletion(score: Score, canvas: Tensor, maps: Tensor, fill: Tensor, *, steps: int = 20, batch: int = 64) -> PerturbationCurve:
    """Each word's score while the places its map marks most are removed first: a low `auc` is a faithful map.

    RISE (Petsiuk, Das, Saenko, BMVC 2018, section 4), there of probabilities (0..1) and with a constant fill. `steps` equal
    steps from nothing to all, fewer when there are fewer places; equal values go in reading order.
    """
    counts = step_counts(canvas, steps)
    return _curve(score, canvas, fill, ~largest_places(maps, canvas, counts), counts, batch)


def insertion(score: Score, canvas: Tensor, maps: Tensor, fill: Tensor, *, steps: int = 20, batch: int = 64) -> PerturbationCurve:
    """Each word's score while the places its map marks most are put into `fill` first: a high `auc` is a faithful map.

    RISE (Petsiuk, Das, Saenko, BMVC 2018, section 4), there of probabilities (0..1) and into a blurred image. As `deletion`.
    """
    counts = step_counts(canvas, steps)
    return _curve(score, canvas, fill, largest_places(maps, canvas, counts), counts, batch)


def _curve(score: Score, canvas: Tensor, fill: Tensor, keep: Tensor, counts: Tensor, batch: int) -> PerturbationCurve:
    words = torch.arange(len(keep), device=canvas.device)
    return PerturbationCurve(
        counts.double() / place_count(canvas), own_word_scores(score, filled(canvas, fill), keep, words, batch)
    )


def average_drop(score: Score, canvas: Tensor, maps: Tensor, fill: Tensor, *, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Drop in confidence of each word in 0..1 when only the marked places are visible, and whether it rises, bool: two `(t,)`.

    Grad-CAM++ (Chattopadhay et al., WACV 2018, section 4.1), whose Average Drop % and % Increase in Confidence are 100 times the
    means over a dataset: `max(0, p - q) / p`, here of log-probabilities, `1 - exp(log q - log p)`, so it is exact for unlikely
    words too. The map is cut at 0, divided by its maximum and drawn; it blends canvas and `fill` (0 there). A map with nothing
    positive shows nothing.
    """
    positive = maps.relu()
    top = positive.amax(dim=(1, 2), keepdim=True)
    shown = drawn_on(positive / torch.where(top > 0, top, 1), canvas)
    masks = torch.cat([torch.ones_like(shown[:1]), shown])
    t = torch.arange(len(maps), device=canvas.device)
    rows, words = torch.cat([torch.zeros_like(t), t + 1]), t.repeat(2)
    before, after = run_scores(score, blended(canvas, fill), masks, rows, words, batch).view(2, -1)
    return (1 - (after - before).exp()).clamp(min=0), after > before


@dataclass(frozen=True)
class RoadCurves:
    """Curves of each word when the most relevant (`morf`) or the least relevant places (`lerf`) are removed first."""

    morf: PerturbationCurve
    lerf: PerturbationCurve

    @property
    def combined(self) -> Tensor:
        """Half the difference `lerf - morf`, averaged over the fractions `(t,)`: high is faithful."""
        return (self.lerf.mean - self.morf.mean) / 2


def road(
    score: Score,
    canvas: Tensor,
    maps: Tensor,
    *,
    fractions: Sequence[float] = PERCENT,
    noise: float = 0.01,
    seed: int = 0,
    batch: int = 64,
) -> RoadCurves:
    """Remove and debias: each word's score when `fractions` of the canvas are imputed from what is left, most and least first.

    ROAD (Rong et al., ICML 2022): noisy linear imputation (`imputation.py`); the noise is one normal field, in the canvas' unit.
    `combined` is pytorch-grad-cam's.
    """
    places = place_count(canvas)
    counts = torch.tensor([min(round(part * places), places - 1) for part in fractions], device=canvas.device)
    removed = torch.cat([largest_places(maps, canvas, counts), largest_places(-maps, canvas, counts)])
    words = torch.arange(len(maps), device=canvas.device).repeat(2)
    scores = own_word_scores(score, imputed(canvas, noise, seed), ~removed, words, batch)
    return RoadCurves(*(PerturbationCurve(counts.double() / places, half) for half in scores.chunk(2)))


# ---- perturbations shared by all words -------------------------------------------------------------------------------------


def occlusion_maps(
    score: Score, canvas: Tensor, words: int, fill: Tensor, *, patch: tuple[int, int] = (32, 32), batch: int = 64
) -> Tensor:
    """Drop of the score of each of `words` when one patch is removed: `(t, H / patch, W / patch)`, in the score's unit.

    Occlusion (Zeiler, Fergus, ECCV 2014, section 4.2) by patches `(high, wide)` that tile the canvas; the last ones are cut off
    at its edges. All words share the forwards: one a patch, and one.
    """
    height, width = canvas.shape[-2:]
    row, column = (torch.arange(side, device=canvas.device) // of for side, of in zip((height, width), patch, strict=True))
    grid = int(row[-1]) + 1, int(column[-1]) + 1
    patches = torch.arange(grid[0] * grid[1], device=canvas.device)
    removed = (row[:, None] * grid[1] + column)[None] == patches[:, None, None]
    keep = torch.cat([torch.ones_like(removed[:1]), ~removed])
    scores = shared_scores(score, filled(canvas, fill), keep, words, batch)
    return (scores[:, :1] - scores[:, 1:]).view(-1, *grid)


def occlusion_correlation(maps: Tensor, occluded: Tensor) -> Tensor:
    """Agreement of a map with occlusion: Spearman's correlation of `maps` `(t, h, w)`, cut at 0, with
    `occlusion_maps` `(t, h', w')` on the latter's grid: `(t,)` in -1..1, NaN when one of them is the same everywhere.

    The faithfulness of the Grad-CAM paper (Selvaraju et al., ICCV 2017, section 5.3: 0.254, mean over 2,510 images).
    """
    refuse_nan(maps)
    return rank_correlation(maps.relu(), occluded, (occluded.shape[-2], occluded.shape[-1]))


def sensitivity_n(
    score: Score,
    canvas: Tensor,
    maps: Tensor,
    fill: Tensor,
    *,
    fractions: Sequence[float] = (0.02, 0.1, 0.2, 0.4, 0.8),
    subsets: int = 100,
    seed: int = 0,
    batch: int = 64,
) -> PerturbationCurve:
    """Does the sum of a map over removed cells tell how much the score drops? For each of `fractions` of the map's cells,
    Pearson's correlation over random `subsets` of so many cells: `scores` `(t, s)` in -1..1, NaN where nothing varies.

    Sensitivity-n (Ancona, Ceolini, Oztireli, Gross, ICLR 2018): 1 everywhere for an exact additive explanation. Maps are signed
    and not drawn: a cell is a block of the canvas. All words share the forwards: one a subset, and one.
    """
    refuse_nan(maps)
    cells = maps[0].numel()
    sizes = sorted({min(max(round(part * cells), 1), cells - 1) for part in fractions})
    dice = torch.rand(len(sizes), subsets, cells, generator=torch.Generator().manual_seed(seed)).argsort(dim=-1)
    removed = (dice < torch.tensor(sizes)[:, None, None]).to(canvas.device)
    keep = cell_blocks(~removed.view(-1, *maps.shape[1:]), canvas)
    keep = torch.cat([torch.ones_like(keep[:1]), keep])
    scores = shared_scores(score, filled(canvas, fill), keep, len(maps), batch)
    drops = (scores[:, :1] - scores[:, 1:]).view(-1, len(sizes), subsets)
    sums = torch.einsum("tc,snc->tsn", maps.to(canvas.device).flatten(1).double(), removed.double())
    return PerturbationCurve(torch.tensor(sizes, device=canvas.device).double() / cells, _pearson(sums, drops))


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation over the last dimension; NaN where one of the two is constant."""
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    return (a * b).sum(dim=-1) / ((a**2).sum(dim=-1) * (b**2).sum(dim=-1)).sqrt()
