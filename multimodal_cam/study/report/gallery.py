"""Best, median and worst cases of a run, drawn from the photos and from the maps in the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from ...core.geometry import Placement, place
from ...core.images import load_image
from ...core.parquet import pq
from ...render.overlay import overlay
from ..measure.metric_spec import MetricColumn
from .document import Picture
from .result_table import ResultTable

CASES = 4
SIDE = 352  # pixels
COLUMNS = ["image", "caption", "question", "word", "phrase", "boxes", "frame", "grid", "map"]


def cases(table: ResultTable, run: tuple[str, ...], metric: str) -> dict[str, list[int]]:
    """Rows of the run with the highest, middle and lowest `metric`, no photo twice in one group; ties by row.

    Above what a uniform map gets, where the study has that control: or the best are those whose box is the whole photo.
    """
    rows = table.runs[run]
    values = table[metric][rows] - np.nan_to_num(table[MetricColumn(metric, "uniform").name][rows])
    ranked = rows[np.argsort(-values, kind="stable")][: int((~np.isnan(values)).sum())]
    middle = sorted(range(len(ranked)), key=lambda i: abs(i - len(ranked) // 2))
    orders = {"best": ranked, "median": ranked[middle], "worst": ranked[::-1]}
    return {name: _distinct(table, order) for name, order in orders.items()}


def _distinct(table: ResultTable, order: Any) -> list[int]:
    found: dict[int, int] = {}
    for row in order:
        found.setdefault(int(table["image"][row]), int(row))
        if len(found) == CASES:
            break
    return list(found.values())


def pictures(folder: Path, images: Path, rows: list[int], metric: str, values: Any, name: str) -> Iterator[Picture]:
    """Draw rows of `results.parquet` into `folder/gallery`; missing photos are skipped."""
    (folder / "gallery").mkdir(exist_ok=True)
    for number, (row, case) in enumerate(zip(rows, _read(folder, rows), strict=True)):
        try:
            photo = load_image(images / case["image"])
        except (OSError, ValueError):
            continue
        path = folder / "gallery" / f"{name}-{number}.jpg"
        _draw(photo, case).save(path, quality=85)
        about = f"{case['question']} {case['word']}" if case["question"] else f"{case['phrase']}, in: {case['caption']}"
        yield Picture(path, f"{about} ({metric} {values[row]:.2f}; {case['image']})")


def _read(folder: Path, rows: list[int]) -> list[dict[str, Any]]:
    """Read rows of the table by row group, because the maps of a large study do not fit into memory."""
    file, start = pq.ParquetFile(folder / "results.parquet"), 0
    found: dict[int, dict[str, Any]] = {}
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        wanted = [row for row in rows if start <= row < start + count]
        if wanted:
            taken = file.read_row_group(group, columns=COLUMNS).take([row - start for row in wanted])
            found.update(zip(wanted, taken.to_pylist(), strict=True))
        start += count
    return [found[row] for row in rows]


def _draw(photo: Image.Image, case: dict[str, Any]) -> Image.Image:
    """Overlay of the positive part of the map on the photo, with the boxes of the thing."""
    ratio = min(1.0, SIDE / max(photo.size))
    small = photo.resize((max(1, round(photo.width * ratio)), max(1, round(photo.height * ratio))))
    map = torch.tensor(np.array(case["map"], dtype="float32")).view(case["grid"]).nan_to_num(0).clamp(min=0)
    x0, y0, x1, y1 = case["frame"]
    heat = place(map[None], Placement(small.width, small.height, (x0, y0, x1, y1)))[0]
    drawn = overlay(small, heat / heat.max().clamp(min=1e-9))
    pen = ImageDraw.Draw(drawn)
    for left, top, right, bottom in case["boxes"]:
        box = [left * small.width, top * small.height, right * small.width - 1, bottom * small.height - 1]
        pen.rectangle(box, outline="black", width=3)
        pen.rectangle(box, outline="white", width=1)
    return drawn
