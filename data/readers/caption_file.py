"""Reader for captions in the layout of Flickr8k: a CSV file `image,caption` with a header, one caption a line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ...core.errors import BrokenFile, shown
from ...core.json_object import read_utf8
from .question_record import OnSkip

MOST_LINES = 20  # of one caption: more are swallowed by an open quote


def read_captions(path: Path, on_skip: OnSkip | None = None) -> dict[str, list[str]]:
    """Captions of each image, in the file's order. Raises ValueError for the first line that is not `image,caption`,
    BrokenFile for what is no CSV or no UTF-8.

    With `on_skip` such lines, and those with a stray quote, are skipped and passed to it; captions cannot span lines then.
    """
    captions: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", errors="strict" if on_skip is None else "replace", newline="") as file:
        rows = _rows(file, path) if on_skip is None else _lines(file)
        _, header = next(rows, (0, []))
        if [column.strip().lower() for column in header[:2]] != ["image", "caption"]:
            raise ValueError(f"{path}: expected the header 'image,caption', got {shown(','.join(header))}")
        for number, row in rows:
            if not row:
                continue
            if len(row) < 2 or not row[0].strip() or not row[1].strip():
                said = f"{path}, line {number}: expected 'image,caption', got {shown(','.join(row))}"
                if on_skip is None:
                    raise ValueError(said)
                on_skip(said)
                continue
            captions.setdefault(row[0].strip(), []).append(",".join(row[1:]).strip())
    if not captions:
        raise ValueError(f"{path} holds no captions")
    return captions


def _rows(file: TextIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Parse the file as CSV. Raises BrokenFile, with the line, for a quote that is never closed, and bytes that are no UTF-8."""
    rows, start = csv.reader(file, strict=True), 0
    try:
        for row in rows:
            if rows.line_num - start > MOST_LINES:
                raise csv.Error(f"a quote that is open for {rows.line_num - start} lines")
            start = rows.line_num
            yield rows.line_num, row
    except csv.Error as error:  # a field over 128 KB, an unclosed quote, a null character
        raise BrokenFile(
            path, f"one caption a line behind line {start}", str(error), "close the quotes of its captions"
        ) from None
    except UnicodeDecodeError as error:
        raise BrokenFile(path, "UTF-8", f"other bytes behind line {start} ({error.reason})", "save the file as UTF-8") from None


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Parse each line on its own, so that an unclosed quote does not swallow the next ones; such a line is a single cell."""
    for number, line in enumerate(file, start=1):
        try:
            yield number, [line.strip()] if line.count('"') % 2 else next(csv.reader([line]), [])
        except csv.Error:
            yield number, [f"{line[:60]}…"]


def read_names(path: Path) -> list[str]:
    """Names of photos in a file, one a line."""
    return [line.strip() for line in read_utf8(path).splitlines() if line.strip()]


def read_split(path: Path, captions: dict[str, list[str]], on_skip: OnSkip | None = None) -> list[str]:
    """Image names of a split file, one a line. Raises ValueError for names without captions; with `on_skip` they are skipped and
    passed to it."""
    names = read_names(path)
    missing = [name for name in names if name not in captions]
    if not names or (missing and on_skip is None):
        what = f"{len(missing)} of {len(names)} images have no caption, the first: {missing[0]}" if missing else "is empty"
        raise ValueError(f"{path}: {what}")
    if on_skip is not None:
        for name in missing:
            on_skip(f"{path}: {name} has no caption")
    return [name for name in names if name in captions]
