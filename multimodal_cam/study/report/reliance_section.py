"""Section of the report on predictors of right maps and of hallucinated words: reliance, beside numbers that cost nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.parquet import pq
from ...metrics.calibration import auroc_difference, auroc_interval
from ..config import RUN
from .document import Block, DataTable, Heading, Paragraph, Picture, difference_cell, value_cell
from .plots import reliability
from .result_table import ResultTable

Columns = Mapping[str, NDArray[Any]]
PREDICTORS = {
    "reliance": "what the photo adds to the word's log-probability",
    "log_prob": "the word's log-probability: no map needed, the photo is in it",
    "peak": "the share of the map's positive relevance that its largest cell has: no second pass needed",
    "area": "the share of the photo that the boxes cover: known to nobody who needs a map",
}
ABOUT = (
    "The area under the ROC curve: how often, of a word whose map hits and one whose map misses, the first has the higher "
    "number; 0.5 is chance. In brackets 95 % intervals over photos; below, how much reliance is above each of the others, on the "
    "same words and draws."
)
SAID = (
    "All nouns of the models' own captions, with a box or without: those that a human caption of the photo has (in whatever "
    "number) against those that none has, which may be made up, or another word for the same thing."
)


def reliance_blocks(folder: Path, table: ResultTable, metric: str) -> Iterator[Block]:
    """Yield tables and curves, for hits of maps and for nouns of own captions that no human caption contains."""
    yield Heading(2, "Does a word's reliance say when to trust its map?")
    yield Paragraph(ABOUT)
    yield DataTable(["number", "what it is"], list(PREDICTORS.items()))
    yield Heading(3, f"{metric} hits")
    runs = {key: {n: table[n][rows] for n in (*PREDICTORS, "image", metric)} for key, rows in table.runs.items()}
    hits = {key: columns | {"label": columns[metric] >= 0.5} for key, columns in runs.items()}
    yield _table(hits, list(PREDICTORS), table.seed)
    path = reliability(hits, metric, folder / "plots" / "reliance.png", table.seed)
    yield Picture(path, f"{metric} by the reliance of the word, bins of one size, with 95 % intervals over photos", wide=True)
    nouns = _nouns(folder)
    if nouns:
        yield Heading(3, "The word is in a human caption")
        yield Paragraph(SAID)
        yield _table(nouns, [name for name in PREDICTORS if name != "area"], table.seed)
        path = reliability(nouns, "in a human caption", folder / "plots" / "hallucination.png", table.seed)
        yield Picture(path, "The share of nouns that a human caption has, by their reliance", wide=True)


def _table(runs: Mapping[tuple[str, ...], Columns], names: list[str], seed: int) -> DataTable:
    lines = []
    for key, columns in runs.items():
        cells = [_areas(columns, name, seed) for name in names]
        lines.append([*key, str(len(columns["label"])), f"{columns['label'].mean():.3f}", *(own for own, _ in cells)])
        lines.append([*("" for _ in key), "", "reliance above:", *(above for _, above in cells)])
    return DataTable([*RUN[: len(next(iter(runs)))], "words", "share", *names], lines)


def _areas(columns: Columns, name: str, seed: int) -> tuple[str, str]:
    """Cells with the AUROC of a number, and with the advantage of reliance on the words that have both."""
    values, reliance = columns[name].astype(float), columns["reliance"].astype(float)
    known = ~np.isnan(values) & ~np.isnan(reliance)
    labels, photos = columns["label"][known], columns["image"][known]
    if not known.any() or labels.all() or not labels.any():
        return "-", "-"
    above = (
        "" if name == "reliance" else difference_cell(auroc_difference(reliance[known], values[known], labels, photos, seed=seed))
    )
    return value_cell(auroc_interval(values[known], labels, photos, seed=seed)), above


def _nouns(folder: Path) -> dict[tuple[str, ...], Columns]:
    """Nouns of own captions by model, method and score, without photos that have no human caption."""
    table = pq.read_table(folder / "nouns.parquet")
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    known = np.array([said is not None for said in columns["in_human_caption"]], dtype=bool)
    found: dict[tuple[str, ...], Columns] = {}
    for key in dict.fromkeys(zip(*(columns[name].tolist() for name in RUN[:3]), strict=True)):
        rows = known & np.logical_and.reduce([columns[name] == part for name, part in zip(RUN, key, strict=False)])
        if rows.any():
            own = {name: columns[name][rows] for name in columns}
            found[key] = own | {"label": own["in_human_caption"].astype(bool)}
    return found
