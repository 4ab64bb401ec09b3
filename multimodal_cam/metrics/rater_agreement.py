"""Krippendorff's alpha: agreement of any number of raters, of whom not everyone has rated every unit.

Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011: alpha = 1 - observed disagreement / disagreement by chance, from
the matrix of coincidences. 1 is agreement, 0 what chance gives; below 0 raters disagree systematically.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
RatingScale = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(values: ArrayLike, units: ArrayLike, scale: RatingScale = "nominal") -> float:
    """Krippendorff's alpha of ratings `values` `(rows,)`, each of one of `units` `(rows,)` by a rater of its own.

    Args:
        values: Numbers; NaN is no rating. Their order counts on an ordinal scale, their distance on an interval scale.
        units: Names or numbers of what was rated. Units with fewer than two ratings say nothing about agreement.
        scale: `nominal` (equal or not), `ordinal` or `interval`.

    Returns:
        At most 1. NaN where nothing can be said: no unit has two ratings, or all ratings are the same.

    Raises:
        ValueError: An unknown scale, or lengths that differ.
    """
    if scale not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"unknown scale {scale!r}; choose from nominal, ordinal, interval")
    ratings, names = np.asarray(values, dtype=np.float64), np.asarray(units)
    if ratings.ndim != 1 or ratings.shape != names.shape:
        raise ValueError(f"values and units: expected one unit for each value, got shapes {ratings.shape} and {names.shape}")
    known = ~np.isnan(ratings)
    categories, codes = np.unique(ratings[known], return_inverse=True)
    found, unit_codes = np.unique(names[known], return_inverse=True)
    counts = np.zeros((len(found), len(categories)))
    np.add.at(counts, (unit_codes, codes), 1)
    counts = counts[counts.sum(axis=1) >= 2]
    coincidences = _coincidences(counts)
    totals = coincidences.sum(axis=1)
    distances = _distances(categories, totals, scale)
    by_chance = float(totals @ distances @ totals)
    if by_chance == 0:
        return math.nan
    return 1 - (float(totals.sum()) - 1) * float((coincidences * distances).sum()) / by_chance


def _coincidences(counts: Floats) -> Floats:
    """Matrix `(v, v)` of pairs of values within a unit, from counts `(units, v)`; a unit of m ratings weighs m."""
    weighted = counts / np.maximum(counts.sum(axis=1, keepdims=True) - 1, 1)
    together: Floats = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    return together


def _distances(categories: Floats, totals: Floats, scale: RatingScale) -> Floats:
    """Squared differences `(v, v)` between the values of a scale."""
    if scale == "nominal":
        return 1 - np.eye(len(categories))
    at = categories if scale == "interval" else totals.cumsum() - totals / 2  # ordinal: the ratings that lie between
    squared: Floats = (at[:, None] - at[None]) ** 2
    return squared
