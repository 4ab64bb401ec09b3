"""Calibration: how well a number, such as a word's reliance, predicts whether its map hits or whether the word is hallucinated.

`scores` are any numbers, higher for "yes"; `labels` the truth. For hallucinations (words that no human caption of the photo
contains) pass the negated reliance: the less a word owes to the photo, the likelier it is hallucinated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .intervals import DRAWS, LEVEL, Floats, Interval, cluster_bootstrap, mean_intervals


@dataclass(frozen=True)
class CalibrationBin:
    """A point of a reliability curve: `rows` rows with scores from `low` to `high` and mean `score`, of which the share `rate`
    is true."""

    low: float
    high: float
    score: float
    rate: float
    rows: int


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve, in 0..1: probability that a true row scores above a false one; ties count one half.

    It is the Mann-Whitney U over the number of pairs (Hanley and McNeil, Radiology 1982; Fawcett, Pattern Recognition Letters
    2006, section 7). 0.5 is chance; NaN when all labels are the same.
    """
    values, true = _checked(scores, labels)
    _, order = np.unique(values, return_inverse=True)
    return _area(order, true, np.ones(len(values)))


def auroc_interval(
    scores: ArrayLike, labels: ArrayLike, groups: ArrayLike, n: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> Interval:
    """`auroc` with its bootstrap interval over `groups` (photos), as in metrics.intervals."""
    values, true = _checked(scores, labels)
    _, order = np.unique(values, return_inverse=True)  # sorted once, not for every draw
    return cluster_bootstrap(lambda weights: _area(order, true, weights), groups, n, seed, level)


def auroc_within(scores: ArrayLike, labels: ArrayLike, bins: ArrayLike) -> float:
    """`auroc` over the pairs of rows that share a bin: what scores tell beyond the bin itself (stratified, as van Elteren 1960).

    It is the mean of the bins' areas, each weighing as many pairs as it has. NaN where no bin has both labels.
    """
    values, true = _checked(scores, labels)
    return _area_within(_orders_within(values, bins), true, np.ones(len(values)))


def auroc_within_interval(
    scores: ArrayLike, labels: ArrayLike, bins: ArrayLike, groups: ArrayLike, n: int = DRAWS, seed: int = 0
) -> Interval:
    """`auroc_within` with its bootstrap interval over `groups` (photos), as in metrics.intervals."""
    values, true = _checked(scores, labels)
    orders = _orders_within(values, bins)
    return cluster_bootstrap(lambda weights: _area_within(orders, true, weights), groups, n, seed)


def auroc_difference(
    one: ArrayLike,
    other: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    n: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Difference of the AUROC of scores `one` and of scores `other`, over the same draws of `groups`."""
    (first, true), (second, _) = _checked(one, labels), _checked(other, labels)
    orders = [np.unique(values, return_inverse=True)[1] for values in (first, second)]

    def difference(weights: Floats) -> float:
        mine, theirs = (_area(order, true, weights) for order in orders)
        return mine - theirs

    return cluster_bootstrap(difference, groups, n, seed, level)


def reliability_curve(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[CalibrationBin]:
    """The reliability curve: the share of true rows in `bins` bins of as equal a size as ties allow, by rising score.

    Equal scores share a bin, so there may be fewer bins (bins of equal size: Nguyen and O'Connor, EMNLP 2015). A score
    that is no probability has no diagonal to lie on: what counts is that the rates rise.
    """
    values, true = _checked(scores, labels)
    return [_bin(values[own], true[own]) for own in _members(values, bins)]


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """ECE: how far the mean probability of a bin is from its share of true rows, weighted by the bins' rows.

    Bins of equal width over 0..1, as Guo et al. (ICML 2017, eq. 3) have them; a probability on an edge belongs to the bin below.
    """
    values, true = _checked(probabilities, labels)
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"expected probabilities in 0..1, got numbers from {values.min():.3g} to {values.max():.3g}")
    which = np.ceil(values * bins).astype(int).clip(min=1)
    gaps = [abs(values[own].mean() - true[own].mean()) * own.mean() for i in np.unique(which) if (own := which == i).any()]
    return float(sum(gaps))


def reliability_intervals(
    scores: ArrayLike, labels: ArrayLike, groups: ArrayLike, bins: int = 10, seed: int = 0
) -> list[Interval]:
    """Bootstrap intervals of the rates of `reliability_curve`, over `groups` (photos) as in metrics.intervals; the bins stay."""
    values, true = _checked(scores, labels)
    rates = {str(i): np.where(own, true, np.nan) for i, own in enumerate(_members(values, bins))}
    return list(mean_intervals(rates, groups, seed=seed).values())


def _members(values: Floats, bins: int) -> list[NDArray[np.bool_]]:
    """Mask of the rows in each bin."""
    if bins < 1:
        raise ValueError(f"bins: expected 1 or more, got {bins}")
    inner = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
    which = np.searchsorted(inner, values, side="left")  # an edge is a score and belongs to the bin that it closes
    return [own for i in range(len(inner) + 1) if (own := which == i).any()]


def _bin(values: Floats, true: NDArray[np.bool_]) -> CalibrationBin:
    return CalibrationBin(float(values.min()), float(values.max()), float(values.mean()), float(true.mean()), len(values))


def _area(order: NDArray[np.intp], true: NDArray[np.bool_], weights: Floats) -> float:
    """AUROC of weighted rows; `order` is each row's rank among distinct scores."""
    positive = np.bincount(order, weights=weights * true)
    negative = np.bincount(order, weights=weights * ~true)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / pairs) if pairs > 0 else float("nan")


def _orders_within(values: Floats, bins: ArrayLike) -> list[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Mask of the rows of each bin, and their ranks among the bin's distinct scores."""
    names = np.asarray(bins)
    if names.shape != values.shape:
        raise ValueError(f"bins: expected one for each of {len(values)} rows, got shape {names.shape}")
    return [(own := names == name, np.unique(values[own], return_inverse=True)[1]) for name in np.unique(names)]


def _area_within(orders: list[tuple[NDArray[np.bool_], NDArray[np.intp]]], true: NDArray[np.bool_], weights: Floats) -> float:
    """Area of weighted rows over the pairs within bins."""
    area = pairs = 0.0
    for own, order in orders:
        count = float(weights[own] @ true[own] * (weights[own] @ ~true[own]))
        if count > 0:
            area += count * _area(order, true[own], weights[own])
            pairs += count
    return area / pairs if pairs else float("nan")


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, true = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if values.ndim != 1 or values.shape != true.shape or not len(values):
        raise ValueError(f"expected a score and a label for each row, got shapes {values.shape} and {true.shape}")
    if np.isnan(values).any():
        raise ValueError("scores hold NaN: leave words that the model does not know out")
    return values, true
