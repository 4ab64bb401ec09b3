"""Tables of localisation errors, with intervals over photos; how they are written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data.readers.voc_annotation import Box
from ...metrics.intervals import Interval

CENTRE_BOX: Box = (0.25, 0.25, 0.75, 0.75)  # a quarter of the photo
WHOLE_IMAGE: Box = (0.0, 0.0, 1.0, 1.0)
BLIND = {"centre box": CENTRE_BOX, "whole image": WHOLE_IMAGE}
FILES = ("wsol.json", "wsol.md")


def error_of(hits: Interval) -> Interval:
    """The interval of 1 less the hits."""
    return Interval(1 - hits.value, 1 - hits.high, 1 - hits.low, hits.rows, hits.groups, hits.level)


def error_row(about: Mapping[str, str], errors: Mapping[str, Interval]) -> dict[str, Any]:
    """A row of the table: what was measured, then each error with its interval."""
    row: dict[str, Any] = dict(about)
    for name, error in errors.items():
        row |= {name: round(error.value, 4), f"{name} low": _end(error.low), f"{name} high": _end(error.high)}
    first = next(iter(errors.values()))
    return row | {"rows": first.rows, "photos": first.groups}


def _end(value: float) -> float | None:
    return None if value != value else round(value, 4)


def write_errors(folder: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `wsol.json` and `wsol.md` into the folder; returns the path of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILES[0]).write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")
    head = list(rows[0])
    lines = [f"# {title}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join('' if row[name] is None else str(row[name]) for name in head)} |" for row in rows]
    path = folder / FILES[1]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
