"""Files that say what a study asks for: pairs of things on photos, and which words are right."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..core.errors import shown
from ..core.json_object import read_utf8

TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class ThingPair(NamedTuple):
    """A photo by name, the thing whose map is shown, and another thing."""

    image: str
    shown: str
    other: str


class JudgedWord(NamedTuple):
    """A photo by name, a word said of it, and whether that is right."""

    image: str
    word: str
    right: bool


def read_pairs(path: Path) -> list[ThingPair]:
    """Pairs from a CSV file `image,shown,other`. Raises ValueError, with the line, for what is none."""
    pairs = []
    for number, row in _rows(path, ("image", "shown", "other")):
        if row[1].lower() == row[2].lower():
            raise ValueError(f"{path}, line {number}: expected two different things, got {row[1]!r} twice")
        pairs.append(ThingPair(*row))
    return pairs


def read_truth(path: Path) -> list[JudgedWord]:
    """Words from a CSV file `image,word,right`, right as yes or no. Raises ValueError, with the line, for what is none."""
    words = []
    for number, (image, word, right) in _rows(path, ("image", "word", "right")):
        if right.lower() not in TRUTH:
            raise ValueError(f"{path}, line {number}: expected yes or no as right, got {shown(right)}")
        words.append(JudgedWord(image, word, TRUTH[right.lower()]))
    return words


def _rows(path: Path, header: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each line below the header."""
    lines = csv.reader(read_utf8(path).removeprefix("\ufeff").splitlines())
    found = [column.strip().lower() for column in next(lines, [])]
    if found != list(header):
        raise ValueError(f"{path}: expected the header {','.join(header)!r}, got {shown(','.join(found))}")
    empty = True
    for row in lines:
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if len(fields) != len(header) or not all(fields):
            raise ValueError(f"{path}, line {lines.line_num}: expected {','.join(header)!r}, got {shown(','.join(row))}")
        empty = False
        yield lines.line_num, fields
    if empty:
        raise ValueError(f"{path} holds no line below its header")
