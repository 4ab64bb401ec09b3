"""`results.parquet` of a batch: a row for each word, phrase, whole text and answer, with its map.

Shards of rows are written while the run works; when it ends they are merged, in the order of the photos.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.parquet import pa, pq
from ..core.spans import join
from ..results.explanation_data import ExplanationData
from ..results.records import SpanExplanation
from .batch_settings import BatchItem

TABLE, SHARDS = "results.parquet", "shards"
GROUP = 65_536  # rows in a row group of the final table
OPENED = 4  # row groups in memory while shards are merged
NUMBERS = ("score", "log_prob", "probability", "reliance", "unplaced", "completeness")
SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("question", pa.string()),
        ("text", pa.string()),
        ("kind", pa.string()),  # word, phrase, whole, answer
        ("span", pa.string()),  # the words that the row is about
        ("start", pa.int32()),  # first token of the span, and the one after its last
        ("stop", pa.int32()),
        *((name, pa.float64()) for name in NUMBERS),
        ("peak", pa.list_(pa.float32())),
        ("grid", pa.list_(pa.int32())),  # rows and columns of the map
        ("map", pa.list_(pa.float32())),  # cells, row by row
        # where the map lies on the photo: left, top, right, bottom, in fractions; of regions four numbers for each
        ("frame", pa.list_(pa.float32())),
        *((name, pa.string()) for name in ("model", "method", "scored", "unit", "layer")),
    ]
)
Source = tuple[Path, int]  # a row group of a file


def rows_of(item: BatchItem, explanation: ExplanationData, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an explanation; `record` is its JSON record, whose numbers they repeat."""
    parts = [("word", explanation.part(word), told) for word, told in zip(explanation.words, record["words"], strict=True)]
    if "phrases" in record:
        parts += [("phrase", part, told) for part, told in zip(explanation.phrases(), record["phrases"], strict=True)]
    if "whole" in record:
        parts.append(("whole", explanation.part(join(explanation.words, explanation.text)), record["whole"]))
    parts += [("answer", part, told) for part, told in zip(explanation.answer_parts, record.get("answers", ()), strict=True)]
    about = {
        "image": item.image,
        "question": item.question,
        "text": explanation.text,
        "frame": [side for box in explanation.placement.boxes or [explanation.placement.frame] for side in box],
        **{name: record[name] for name in ("model", "method", "unit", "layer")},
        "scored": record["score"],
    }
    return [about | _part_row(kind, part, told) for kind, part, told in parts]


def _part_row(kind: str, part: SpanExplanation, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "span": part.text,
        "start": part.span.start,
        "stop": part.span.stop,
        "grid": list(part.map.shape),
        "map": part.map.flatten().tolist(),
        "peak": told["peak"],
        **{name: told.get(name) for name in NUMBERS},
    }


def shard_name(folder: Path) -> str:
    """Name of the next shard in the folder."""
    numbers = [int(path.stem) for path in (folder / SHARDS).glob("*.parquet") if path.stem.isdigit()]
    return f"{SHARDS}/{max(numbers, default=-1) + 1:06}.parquet"


def write_shard(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a shard atomically."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), partial, compression="zstd")
    os.replace(partial, path)


def tabled_items(folder: Path) -> dict[BatchItem, Source]:
    """Items that have rows, and the row group that holds them; of several the last one written."""
    found: dict[BatchItem, Source] = {}
    for path in [folder / TABLE, *sorted((folder / SHARDS).glob("[0-9]*.parquet"))]:
        if path.is_file():
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, columns=["image", "question"]).to_pydict()
                items = dict.fromkeys(zip(keys["image"], keys["question"], strict=True))
                found |= {BatchItem(image, question): (path, group) for image, question in items}
    return found


def merge_shards(folder: Path, items: Iterable[BatchItem]) -> None:
    """Write the rows of the items, in this order, to `results.parquet`; the shards stay."""
    partial = folder / f".{TABLE}.partial"
    with pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        rows = 0
        for table in _tables(tabled_items(folder), items):
            waiting.append(table)
            rows += len(table)
            if rows >= GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    os.replace(partial, folder / TABLE)


def _tables(sources: dict[BatchItem, Source], items: Iterable[BatchItem]) -> Iterator[pa.Table]:
    opened = lru_cache(OPENED)(_rows_by_item)
    for item in items:
        if item in sources:
            yield opened(*sources[item])[item]


def _rows_by_item(path: Path, group: int) -> dict[BatchItem, pa.Table]:
    """Rows of a row group by item: those of one item follow each other."""
    table = pq.ParquetFile(path).read_row_group(group)
    keys = list(zip(table["image"].to_pylist(), table["question"].to_pylist(), strict=True))
    starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    return {
        BatchItem(*keys[start]): table.slice(start, stop - start)
        for start, stop in zip(starts, [*starts[1:], len(keys)], strict=True)
    }
