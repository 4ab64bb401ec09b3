"""Reader for captions in the layout of Flickr8k: a CSV file `image,caption` with a header, one caption a line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from .question_record import OnSkip


def read_captions(path: Path, on_skip: OnSkip | None = None) -> dict[str, list[str]]:
    """Captions of each image, in the file's order. Raises ValueError for the first line that is not `image,caption`.

    With `on_skip` such lines, and those with a stray quote, are skipped and passed to it; captions cannot span lines then.
    """
    captions: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", errors="strict" if on_skip is None else "replace", newline="") as file:
        rows = _rows(file) if on_skip is None else _lines(file)
        _, header = next(rows, (0, []))
        if [column.strip().lower() for column in header[:2]] != ["image", "caption"]:
            raise ValueError(f"{path}: expected the header 'image,caption', got {','.join(header)!r}")
        for number, row in rows:
            if not row:
                continue
            if len(row) < 2 or not row[0].strip() or not row[1].strip():
                said = f"{path}, line {number}: expected 'image,caption', got {','.join(row)!r}"
                if on_skip is None:
                    raise ValueError(said)
                on_skip(said)
                continue
            captions.setdefault(row[0].strip(), []).append(",".join(row[1:]).strip())
    if not captions:
        raise ValueError(f"{path} holds no captions")
    return captions


def _rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(file)
    for row in rows:
        yield rows.line_num, row


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Parse each line on its own, so that an unclosed quote does not swallow the next ones; such a line is a single cell."""
    for number, line in enumerate(file, start=1):
        yield number, [line.strip()] if line.count('"') % 2 else next(csv.reader([line]), [])


def read_split(path: Path, captions: dict[str, list[str]], on_skip: OnSkip | None = None) -> list[str]:
    """Image names of a split file, one a line. Raises ValueError for names without captions; with `on_skip` they are skipped and
    passed to it."""
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    missing = [name for name in names if name not in captions]
    if not names or (missing and on_skip is None):
        what = f"{len(missing)} of {len(names)} images have no caption, the first: {missing[0]}" if missing else "is empty"
        raise ValueError(f"{path}: {what}")
    if on_skip is not None:
        for name in missing:
            on_skip(f"{path}: {name} has no caption")
    return [name for name in names if name in captions]
