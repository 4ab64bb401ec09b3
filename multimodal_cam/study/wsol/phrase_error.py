"""The localisation error of phrases: how often the box of a word's map misses all boxes of what the word names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...core.parquet import pq
from ...metrics.intervals import mean_intervals
from ...metrics.overlap import HIT, best_iou
from ..config import RUN
from ..measure.metric_spec import MetricColumn
from .localisation_error import BLIND, error_of, error_row

RULES = {"segment": "box_hit", "otsu": "otsu_box_hit"}  # rule of the boxes -> metric of the study
CONTROL = "other_word"


def phrase_errors(folder: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with the error of each run and rule of a study in `folder`, of another word's map, and of boxes that see nothing.

    A hit is an intersection over union of .5 or more with one of the boxes; intervals are over photos.
    """
    names = [MetricColumn(metric, control).name for metric in RULES.values() for control in (None, CONTROL)]
    table = pq.read_table(folder / "results.parquet", columns=[*RUN, "image", "boxes", *names])
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names if name != "boxes"}
    boxes = table["boxes"].to_pylist()
    blind = {name: np.array([_hit(box, own) for own in boxes]) for name, box in BLIND.items()}
    rows = []
    for run in dict.fromkeys(zip(*(columns[name].tolist() for name in RUN), strict=True)):
        own = np.logical_and.reduce([columns[name] == value for name, value in zip(RUN, run, strict=True)])
        about = dict(zip(RUN, run, strict=True))
        for rule, metric in RULES.items():
            found = {"map": columns[metric], "another word's map": columns[MetricColumn(metric, CONTROL).name]}
            rows += _rows(about | {"rule": rule}, {k: v[own] for k, v in found.items()}, columns["image"][own], seed)
        rows += _rows(about | {"rule": "none"}, {k: v[own] for k, v in blind.items()}, columns["image"][own], seed)
    return rows


def _rows(about: dict[str, str], hits: Mapping[str, Any], images: Any, seed: int) -> list[dict[str, Any]]:
    found = mean_intervals(hits, images, seed=seed)
    return [error_row(about | {"boxes": name}, {"error": error_of(interval)}) for name, interval in found.items()]


def _hit(box: tuple[float, ...], truth: list[tuple[float, float, float, float]]) -> float:
    return float(best_iou(torch.tensor(box, dtype=torch.float64), truth) >= HIT)
