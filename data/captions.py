"""Reader for captions in Flickr8k's layout: a CSV file `image,caption` with a header, one caption a line."""

from __future__ import annotations

import csv
from pathlib import Path


def read_captions(path: Path) -> dict[str, list[str]]:
    """Image name -> its captions, in the file's order. Raises ValueError naming the first line that is not `image,caption`."""
    captions: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if [column.strip().lower() for column in header[:2]] != ["image", "caption"]:
            raise ValueError(f"{path}: expected the header 'image,caption', got {','.join(header)!r}")
        for row in rows:
            if not row:
                continue
            if len(row) < 2 or not row[0].strip() or not row[1].strip():
                raise ValueError(f"{path}, line {rows.line_num}: expected 'image,caption', got {','.join(row)!r}")
            captions.setdefault(row[0].strip(), []).append(",".join(row[1:]).strip())
    if not captions:
        raise ValueError(f"{path} holds no captions")
    return captions


def read_split(path: Path, captions: dict[str, list[str]]) -> list[str]:
    """The image names of a split file (one a line). Raises ValueError when some have no caption."""
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    missing = [name for name in names if name not in captions]
    if missing or not names:
        what = f"{len(missing)} of {len(names)} images have no caption, the first: {missing[0]}" if missing else "is empty"
        raise ValueError(f"{path}: {what}")
    return names
