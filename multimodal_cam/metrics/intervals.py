"""Bootstrap intervals over groups (photos), since the words of one photo are not independent of each other.

The cluster bootstrap (Field and Welsh, Journal of the Royal Statistical Society B, 2007): whole groups are drawn with
replacement, as many as there are, each with all of its rows; an interval's ends are percentiles of the draws (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). A draw is a weight per row, how often its group came, so
that means of any number of columns are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 1000
LEVEL = 0.95
_CELLS = 4_000_000  # groups times draws held at once: 32 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A statistic of all rows, `value`, and the ends between which `level` of the draws lie.

    `rows` and `groups` say how many of them it rests on. With fewer than two groups there is nothing to draw: the ends are
    NaN; with no row at all so is the value.
    """

    value: float
    low: float
    high: float
    rows: int
    groups: int
    level: float = LEVEL

    def excludes(self, number: float) -> bool:
        """Whether `number` lies outside: for a difference and 0, whether it is significant. False when the ends are NaN."""
        return number < self.low or number > self.high


def cluster_bootstrap(
    statistic: Callable[[Floats], float], groups: ArrayLike, n: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Interval of any statistic that takes one weight per row, `(rows,)`: all ones gives its value.

    `groups` `(rows,)` are names or numbers. Draws for which the statistic is NaN (none of its rows was drawn) are left out.
    `mean_interval` and its like are much faster for means.
    """
    codes, count = _codes(groups)
    draws = [statistic(weights[codes]) for chunk in _weights(count, n, seed) for weights in chunk]
    return _interval(statistic(np.ones(len(codes))), np.array(draws), len(codes), count, level)


def crossed_bootstrap(
    statistic: Callable[[Floats], float], rows: ArrayLike, columns: ArrayLike, n: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Interval of a statistic whose rows belong to two kinds of groups at once, as answers do to raters and to photos.

    The pigeonhole bootstrap (Owen, Annals of Applied Statistics, 2007): both kinds are drawn, and a row weighs the product of how
    often its two groups came; the interval is wide enough for other raters and other photos. A kind with one group only is kept
    as it is. Args are those of `cluster_bootstrap`; the interval's `groups` counts those of `rows`.
    """
    (row_codes, row_count), (column_codes, column_count) = _codes(rows), _codes(columns)
    if len(row_codes) != len(column_codes):
        raise ValueError(f"columns: {len(column_codes)} names for {len(row_codes)} rows")
    by_row, by_column = (
        _draws(*kind, n, seed + i) for i, kind in enumerate(((row_codes, row_count), (column_codes, column_count)))
    )
    draws = [statistic(one * other) for one, other in zip(by_row, by_column, strict=True)]
    value, several = statistic(np.ones(len(row_codes))), max(row_count, column_count) > 1
    interval = _interval(value, np.array(draws), len(row_codes), 2 if several else 1, level)
    return replace(interval, groups=row_count)


def mean_interval(values: ArrayLike, groups: ArrayLike, n: int = DRAWS, seed: int = 0, level: float = LEVEL) -> Interval:
    """The mean of `values` `(rows,)` over rows, NaN left out, with its interval over `groups` `(rows,)`."""
    return mean_intervals({"mean": values}, groups, n, seed, level)["mean"]


def mean_intervals(
    columns: Mapping[str, ArrayLike], groups: ArrayLike, n: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> dict[str, Interval]:
    """`mean_interval` of many columns of one table at once, over the same draws. NaN is left out column by column."""
    codes, count = _codes(groups)
    values = [_column(name, column) for name, column in columns.items()]
    for name, column in zip(columns, values, strict=True):
        if len(column) != len(codes):
            raise ValueError(f"{name}: {len(column)} values for {len(codes)} rows of groups")
    known = [~np.isnan(column) for column in values]
    sums = _per_group([np.where(k, column, 0) for k, column in zip(known, values, strict=True)], codes, count)
    sizes = _per_group([k.astype(float) for k in known], codes, count)
    with np.errstate(invalid="ignore"):  # 0 / 0: no row with a number
        means = sums.sum(axis=0) / sizes.sum(axis=0)
        draws = np.concatenate([chunk @ sums / (chunk @ sizes) for chunk in _weights(count, n, seed)])
    return {
        name: _interval(float(means[i]), draws[:, i], int(sizes[:, i].sum()), int((sizes[:, i] > 0).sum()), level)
        for i, name in enumerate(columns)
    }


def nan_interval(values: ArrayLike, groups: ArrayLike, seed: int = 0, *, median: bool = False) -> Interval:
    """The mean, or the median, of `values` `(rows,)` with its interval over `groups` `(rows,)`; rows with NaN are left out.

    Infinite values count in a median. Without a row that has a number, value and ends are NaN.
    """
    column, names = _column("values", values), np.asarray(groups)
    known = ~np.isnan(column)
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    column, names = column[known], names[known]
    if not median:
        return mean_interval(column, names, seed=seed)
    order = np.argsort(column, kind="stable")
    ranked = column[order]

    def weighted_median(weights: Floats) -> float:
        cumulated = weights[order].cumsum()
        return float(ranked[min(np.searchsorted(cumulated, cumulated[-1] / 2), len(ranked) - 1)])

    return cluster_bootstrap(weighted_median, names, seed=seed)


def _codes(groups: ArrayLike) -> tuple[NDArray[np.intp], int]:
    names = np.asarray(groups)
    if names.ndim != 1 or not len(names):
        raise ValueError(f"groups: expected one for each row, got shape {names.shape}")
    found, codes = np.unique(names, return_inverse=True)
    return codes, len(found)


def _column(name: str, values: ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise ValueError(f"{name}: expected one number for each row, got shape {column.shape}")
    return column


def _per_group(columns: list[Floats], codes: NDArray[np.intp], count: int) -> Floats:
    """Sums `(groups, columns)`."""
    return np.stack([np.bincount(codes, weights=column, minlength=count) for column in columns], axis=1)


def _weights(groups: int, n: int, seed: int) -> Iterator[Floats]:
    """Yield counts `(draws, groups)` of each group in multinomial draws, `n` draws in all."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _CELLS // groups)
    for start in range(0, n, at_once):
        m = min(at_once, n - start)
        drawn = generator.integers(groups, size=(m, groups)) + np.arange(m)[:, None] * groups
        yield np.bincount(drawn.ravel(), minlength=m * groups).reshape(m, groups).astype(np.float64)


def _draws(codes: NDArray[np.intp], count: int, n: int, seed: int) -> Iterator[Floats]:
    """Yield weights `(rows,)` of `n` draws of groups; of a single group it is always itself."""
    return (weights[codes] for chunk in _weights(count, n, seed) for weights in chunk)


def _interval(value: float, draws: Floats, rows: int, groups: int, level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a share between 0 and 1, got {level}")
    usable = draws[~np.isnan(draws)]
    if groups < 2 or not len(usable):
        return Interval(value, float("nan"), float("nan"), rows, groups, level)
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), rows, groups, level)
