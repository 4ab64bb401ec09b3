"""Schemas of a study's tables: the columns of `results.parquet` with their types and functions, and those of other tables.

A new column is one `ColumnSpec`; a new metric or control one entry of its table, and its columns follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..core.parquet import pa
from ..core.spans import Span, sentence
from ..metrics.localization import WHOLE, coverage, off_centre
from ..metrics.vqa_accuracy import exact_accuracy
from .measure.controls import CONTROLS
from .measure.metric_spec import MetricColumn, MetricSpec
from .measure.perturbation import FAITHFULNESS
from .measure.placement import METRICS
from .measure.text_batch import TextBatch
from .sources.targets import OpenedPhoto, PhotoText, WordTarget

METRIC_SPECS: Mapping[str, MetricSpec] = {**METRICS, **FAITHFULNESS}
BOX_SIZES = (("< 5 %", 0.05), ("< 15 %", 0.15), ("more", math.inf))  # name, and below which share of the photo


def box_size(area: float) -> str:
    """Name of the size of boxes that cover the share `area` of the photo."""
    return next(name for name, limit in BOX_SIZES if area < limit)


@dataclass(frozen=True)
class TargetFacts:
    """Target `i` of a batch, with the text, photo and words that its columns are computed from."""

    batch: TextBatch
    i: int

    @cached_property
    def row(self) -> int:
        return self.batch.targets[self.i][0]

    @cached_property
    def target(self) -> WordTarget:
        return self.batch.targets[self.i][1]

    @cached_property
    def text(self) -> PhotoText:
        return self.batch.texts[self.row]

    @cached_property
    def photo(self) -> OpenedPhoto:
        return self.batch.photos[self.text.photo]

    @cached_property
    def words(self) -> Sequence[Span]:
        return self.batch.words[self.row]

    @cached_property
    def head(self) -> str:
        return self.words[self.target.head].text

    @cached_property
    def area(self) -> float:
        """Share of the photo that the boxes cover."""
        return float(coverage(self.target.boxes, (1, 1), WHOLE))

    @cached_property
    def in_human_caption(self) -> bool | None:
        said = self.photo.said
        return (self.head in said) if said else None

    @cached_property
    def right(self) -> bool | None:
        question = self.text.question
        return bool(exact_accuracy(self.head, question.answer)) if question else None


@dataclass(frozen=True)
class RowFacts:
    """Source of a row: a target, a run, and the map `(h, w)` and numbers of the target's span in that run."""

    facts: TargetFacts
    model: str
    method: str
    score: str
    span: str
    map: Tensor
    numbers: Mapping[str, float]


def _scaled(map: Tensor) -> Any:
    """The map divided by its largest magnitude, for the gallery."""
    top = float(map.abs().max())
    return (map / top if top > 0 else map).flatten().half().numpy()


@dataclass(frozen=True)
class ColumnSpec:
    """A column of `results.parquet`."""

    name: str
    type: pa.DataType
    value: Callable[[RowFacts], Any]


COLUMNS: tuple[ColumnSpec, ...] = (
    ColumnSpec("image", pa.string(), lambda r: r.facts.photo.item.image),
    ColumnSpec("text", pa.int32(), lambda r: r.facts.text.number),
    ColumnSpec("caption", pa.string(), lambda r: sentence(r.facts.words)),
    ColumnSpec("question", pa.string(), lambda r: r.facts.text.question.question if r.facts.text.question else None),
    ColumnSpec("truth", pa.string(), lambda r: r.facts.text.question.answer if r.facts.text.question else None),
    ColumnSpec("right", pa.bool_(), lambda r: r.facts.right),
    ColumnSpec("word", pa.string(), lambda r: r.facts.head),
    ColumnSpec("phrase", pa.string(), lambda r: sentence(r.facts.words[r.facts.target.start : r.facts.target.stop])),
    ColumnSpec("span", pa.string(), lambda r: r.span),
    ColumnSpec("model", pa.string(), lambda r: r.model),
    ColumnSpec("method", pa.string(), lambda r: r.method),
    ColumnSpec("score", pa.string(), lambda r: r.score),
    ColumnSpec("head", pa.int32(), lambda r: r.facts.target.head),
    ColumnSpec("start", pa.int32(), lambda r: r.facts.target.start),
    ColumnSpec("stop", pa.int32(), lambda r: r.facts.target.stop),
    ColumnSpec("thing", pa.string(), lambda r: r.facts.target.group),
    ColumnSpec("type", pa.string(), lambda r: r.facts.target.type),
    ColumnSpec("boxes", pa.list_(pa.list_(pa.float64())), lambda r: [list(box) for box in r.facts.target.boxes]),
    ColumnSpec("area", pa.float64(), lambda r: r.facts.area),
    ColumnSpec("size", pa.string(), lambda r: box_size(r.facts.area)),
    ColumnSpec("off_centre", pa.bool_(), lambda r: off_centre(r.facts.target.boxes)),
    ColumnSpec("in_human_caption", pa.bool_(), lambda r: r.facts.in_human_caption),
    ColumnSpec("reliance", pa.float64(), lambda r: r.numbers["reliance"]),
    ColumnSpec("log_prob", pa.float64(), lambda r: r.numbers["log_prob"]),
    ColumnSpec("peak", pa.float64(), lambda r: r.numbers["peak"]),
    ColumnSpec("empty", pa.bool_(), lambda r: not bool((r.map > 0).any())),
    ColumnSpec("frame", pa.list_(pa.float64()), lambda r: list(r.facts.batch.placement(r.facts.row).frame)),
    ColumnSpec("grid", pa.list_(pa.int32()), lambda r: list(r.map.shape)),
    ColumnSpec("map", pa.list_(pa.float16()), lambda r: _scaled(r.map)),
)
NOUNS = (  # columns of nouns.parquet
    "image",
    "caption",
    "word",
    "head",
    "model",
    "method",
    "score",
    "in_human_caption",
    "reliance",
    "log_prob",
    "peak",
)
ERRORS = {name: pa.string() for name in ("image", "model", "kind", "message")}
LEFT_OUT = {"image": pa.string(), "model": pa.string(), "why": pa.string(), "count": pa.int32()}


def result_row(row: RowFacts) -> dict[str, Any]:
    """Columns of one row, without those of metrics."""
    return {column.name: column.value(row) for column in COLUMNS}


def metric_columns(metrics: Sequence[str]) -> list[MetricColumn]:
    """Columns of numbers: each metric, of the method's map and of every control."""
    return [MetricColumn(metric, control) for metric in metrics for control in (None, *CONTROLS)]


def table_schemas(metrics: Sequence[str]) -> dict[str, pa.Schema]:
    """The schema of each table of a study with these metrics."""
    types = {column.name: column.type for column in COLUMNS}
    numbers = {column.name: pa.float64() for column in metric_columns(metrics)}
    columns = {"results": types | numbers, "nouns": {name: types[name] for name in NOUNS}, "errors": ERRORS, "left_out": LEFT_OUT}
    return {name: pa.schema(fields) for name, fields in columns.items()}
