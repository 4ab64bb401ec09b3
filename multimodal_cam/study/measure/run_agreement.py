"""Rank correlations of the maps in `results.parquet`: agreement of runs, and differences between words.

Spearman's correlation of signed maps (Das et al., EMNLP 2016, as in metrics.map_correlation), on the finer of two grids.
No model runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.parquet import pq
from ...metrics.intervals import Interval, nan_interval
from ...metrics.map_correlation import correlation_matrix, rank_correlation
from ..config import RUN

RunKey = tuple[str, ...]
TARGET = ("image", "text", "caption", "start", "stop", "head")  # the caption, because own captions differ between models
COLUMNS = (*TARGET, *RUN, "thing", "right", "grid", "map")


@dataclass
class Correlations:
    """Correlations, each with its photo."""

    numbers: list[float] = field(default_factory=list)
    photos: list[str] = field(default_factory=list)

    def add(self, numbers: Sequence[float], photos: Sequence[str]) -> None:
        self.numbers += numbers
        self.photos += photos

    def interval(self, seed: int, minus: Correlations | None = None) -> Interval:
        """Mean with its interval, or that of the paired difference."""
        values = np.array(self.numbers) - (np.array(minus.numbers) if minus else 0.0)
        return nan_interval(values, np.array(self.photos), seed)


@dataclass(frozen=True)
class RunAgreement:
    """`same`: two runs' maps of one word; `other`: the first one's with the second one's of another word of that text, NaN where
    there is none; `words`: of one run, a text's words with each other, their mean."""

    same: dict[tuple[RunKey, RunKey], Correlations] = field(default_factory=dict)
    other: dict[tuple[RunKey, RunKey], Correlations] = field(default_factory=dict)
    words: dict[RunKey, Correlations] = field(default_factory=dict)


def measure_agreement(folder: Path, *, right_only: bool) -> RunAgreement:
    """All correlations of a study's maps. Works by row group, since all rows of a photo are in one."""
    found = RunAgreement()
    file = pq.ParquetFile(folder / "results.parquet")
    for group in range(file.num_row_groups):
        _measure(file.read_row_group(group, columns=list(COLUMNS)), right_only, found)
    return found


def _measure(table: Any, right_only: bool, found: RunAgreement) -> None:
    columns = {name: table[name].to_pylist() for name in COLUMNS if name != "map"}
    maps = _maps(table["map"], columns["grid"])
    rows: dict[RunKey, dict[Hashable, int]] = {}
    for row in range(len(table)):
        if columns["right"][row] or not right_only:
            run = tuple(columns[name][row] for name in RUN)
            rows.setdefault(run, {})[tuple(columns[name][row] for name in TARGET)] = row
    texts = {run: _texts(own, columns, by_photo=right_only) for run, own in rows.items()}
    other_things = {
        run: dict(pair for text in own for pair in _other_things(text, columns["thing"])) for run, own in texts.items()
    }
    image = columns["image"]
    for run, own in texts.items():
        several = [text for text in own if _different(text, columns["thing"]).any()]
        means = [_words(maps, text, columns["thing"]) for text in several]
        found.words.setdefault(run, Correlations()).add(means, [image[text[0]] for text in several])
    for one, other in comparable(rows):
        pairs = [(row, rows[other][key]) for key, row in rows[one].items() if key in rows[other]]
        photos = [image[row] for row, _ in pairs]
        found.same.setdefault((one, other), Correlations()).add(_correlate(maps, pairs), photos)
        swapped = [(row, other_things[other].get(theirs, -1)) for row, theirs in pairs]
        found.other.setdefault((one, other), Correlations()).add(_correlate(maps, swapped), photos)


def comparable(runs: Iterator[RunKey] | Mapping[RunKey, Any]) -> Iterator[tuple[RunKey, RunKey]]:
    """Pairs of runs of one kind of span that differ in exactly one of model, method and score."""
    names = sorted(runs)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if one[3] == other[3] and sum(a != b for a, b in zip(one, other, strict=True)) == 1:
                yield one, other


def _texts(rows: Mapping[Hashable, int], columns: Mapping[str, list[Any]], *, by_photo: bool) -> list[list[int]]:
    """Rows of each caption, or of all questions about a photo."""
    found: dict[Hashable, list[int]] = {}
    for row in rows.values():
        found.setdefault((columns["image"][row], None if by_photo else columns["text"][row]), []).append(row)
    return list(found.values())


def _other_things(text: Sequence[int], things: Sequence[str]) -> Iterator[tuple[int, int]]:
    """For each row of a text the next row about another thing."""
    for i, row in enumerate(text):
        later = (candidate for candidate in (*text[i + 1 :], *text[:i]) if things[candidate] != things[row])
        if (other := next(later, None)) is not None:
            yield row, other


def _different(text: Sequence[int], things: Sequence[str]) -> Any:
    """Mask `(k, k)` of the pairs of a text's rows that are about different things, each pair once."""
    own = np.array([things[row] for row in text])
    return np.triu(own[:, None] != own[None], k=1)


def _words(maps: Sequence[Tensor], text: Sequence[int], things: Sequence[str]) -> float:
    matrix = correlation_matrix(torch.stack([maps[row] for row in text]))
    return float(matrix[torch.from_numpy(_different(text, things))].nanmean())


def _correlate(maps: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Correlation of each pair of rows, batched by grid size; NaN where a row is -1."""
    found = torch.full((len(pairs),), torch.nan, dtype=torch.float64)
    groups: dict[Hashable, list[int]] = {}
    for i, (one, other) in enumerate(pairs):
        if other >= 0:
            groups.setdefault((maps[one].shape, maps[other].shape), []).append(i)
    for places in groups.values():
        mine, theirs = (torch.stack([maps[pairs[i][side]] for i in places]) for side in (0, 1))
        found[places] = rank_correlation(mine, theirs)
    return found.tolist()


def _maps(column: Any, grids: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Maps of the given rows, each `(h, w)` float32."""
    cells = torch.from_numpy(column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32))
    sizes = [h * w for h, w in grids]
    return [own.view(*grid) for own, grid in zip(torch.split(cells, sizes), grids, strict=True)]
