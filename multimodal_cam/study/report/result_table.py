"""Statistics of rows: means or medians with intervals over photos, and paired differences over the same draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.parquet import pq
from ...metrics.intervals import Interval, nan_interval
from ..config import RUN
from ..measure.metric_spec import MetricColumn
from ..schema import BOX_SIZES, METRIC_SPECS, metric_columns

Floats = NDArray[np.float64]
RELIANCE_BANDS = (("below 0", -np.inf, 0.0), ("0 to 1", 0.0, 1.0), ("above 1", 1.0, np.inf))  # nats


@dataclass(frozen=True)
class ResultTable:
    """`results.parquet` without its maps: columns as arrays, and which rows each run (model, method, score, span) has."""

    columns: Mapping[str, NDArray[Any]]
    runs: Mapping[tuple[str, ...], NDArray[np.intp]]
    seed: int

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def interval(self, column: MetricColumn, rows: NDArray[np.intp], minus: MetricColumn | None = None) -> Interval:
        """Mean of a column over `rows` (median for some metrics), or the mean paired difference with `minus`."""
        values = self.columns[column.name][rows] - (self.columns[minus.name][rows] if minus else 0.0)
        median = METRIC_SPECS[column.metric].median and minus is None
        return nan_interval(values, self.columns["image"][rows], self.seed, median=median)


def read_table(folder: Path, metrics: Sequence[str], seed: int, *, right_only: bool) -> ResultTable:
    """Read the table of a study; `right_only` keeps the questions that are answered right."""
    numbers = [column.name for column in metric_columns(metrics)]
    names = ["image", "text", "head", "type", "size", "off_centre", "in_human_caption", "right"]
    names += ["reliance", "log_prob", "peak", "area", *RUN]
    found = pq.read_table(folder / "results.parquet", columns=[*names, *numbers])
    columns: dict[str, NDArray[Any]] = {n: found[n].to_numpy(zero_copy_only=False) for n in (*names, *numbers)}
    columns["image"] = np.unique(columns["image"].astype(str), return_inverse=True)[1]
    kept = columns["right"].astype(bool) if right_only else np.ones(len(found), dtype=bool)
    keys = list(zip(*(columns[name].tolist() for name in RUN), strict=True))
    runs: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(keys):
        if kept[row]:
            runs.setdefault(key, []).append(row)
    return ResultTable(columns, {key: np.array(rows) for key, rows in sorted(runs.items())}, seed)


def splits(table: ResultTable, rows: NDArray[np.intp]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Subsets of a run by name: all, off-centre, by size, type and reliance."""
    yield "all", rows
    yield "off centre", rows[table["off_centre"][rows].astype(bool)]
    for size, _ in BOX_SIZES:
        yield f"box {size}", rows[table["size"][rows] == size]
    reliance = table["reliance"][rows].astype(float)
    for name, low, high in RELIANCE_BANDS:
        yield f"reliance {name}", rows[(reliance >= low) & (reliance < high)]
    types = table["type"][rows].astype(str)
    for kind in sorted(set(types)):
        yield f"type {kind}", rows[types == kind]


def paired(table: ResultTable, one: tuple[str, ...], other: tuple[str, ...], metric: str) -> Interval:
    """Mean difference of two runs on their common targets."""
    place: dict[tuple[Any, ...], int] = {_target(table, row): int(row) for row in table.runs[other]}
    pairs = [(int(row), place[key]) for row in table.runs[one] if (key := _target(table, row)) in place]
    if not pairs:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    mine, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    return nan_interval(table[metric][mine] - table[metric][theirs], table["image"][mine], table.seed)


def _target(table: ResultTable, row: Any) -> tuple[Any, ...]:
    return tuple(table[name][row] for name in ("image", "text", "head"))
