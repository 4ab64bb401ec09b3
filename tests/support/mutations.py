"""Broken variants of files: JSON with odd values in every place, bytes cut or flipped, things that are no files."""

from __future__ import annotations

import copy
import json
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ODD = (
    None, True, 0, -1, 1, 1.5, 10**9, 10**30, math.nan, math.inf, "", "x", "\ud800", "🐕" * 300, "../../etc/passwd",
    "hf-hub:timm/resnet18", [], [[]], [None], ["x", 1], {}, {"x": []}, [0, 1], [[0, 1, 2]],
)  # fmt: skip


class Missing:
    """Stands for a key or item that is left out."""


def json_places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of every value below `value`; of long lists, the first and last two."""
    items: list[Any] = []
    if isinstance(value, dict):
        items = list(value)
    elif isinstance(value, list):
        items = sorted({*range(min(2, len(value))), *range(max(0, len(value) - 2), len(value))})
    for item in items:
        yield (*path, item)
        yield from json_places(value[item], (*path, item))


def with_value(document: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """A copy of the document with `odd` at the path."""
    changed = copy.deepcopy(document)
    parent = changed
    for step in path[:-1]:
        parent = parent[step]
    if odd is Missing:
        del parent[path[-1]]
    else:
        parent[path[-1]] = odd
    return changed


def json_mutations(document: Any) -> list[tuple[str, str]]:
    """Name and text of broken variants of a document."""
    found = [("no JSON", "{"), ("empty", ""), ("a list", "[]"), ("null", "null"), ("deep", "[" * 100_000)]
    for path in json_places(document):
        for odd in (Missing, *ODD):
            name = f"{'.'.join(map(str, path))} = {'missing' if odd is Missing else repr(odd)[:20]}"
            changed = with_value(document, path, odd)
            if json.dumps(changed) != json.dumps(document):
                found.append((name, json.dumps(changed)))
    return found


def byte_mutations(data: bytes, count: int, seed: int) -> list[tuple[str, bytes]]:
    """Name and content of broken variants of a file: cut, flipped, doubled, of zeros."""
    dice = random.Random(seed)
    found = [("empty", b""), ("doubled", data * 2), ("zeros", bytes(len(data))), ("text", b"%!PS-Adobe-3.0\nquit\n")]
    for _ in range(count):
        place = dice.randrange(len(data))
        found.append((f"cut at {place}", data[:place]))
        place = dice.randrange(min(len(data), 2000))
        flipped = bytearray(data)
        flipped[place] ^= 1 << dice.randrange(8)
        found.append((f"bit flipped at {place}", bytes(flipped)))
    return found


def odd_files(path: Path) -> list[tuple[str, Callable[[], None]]]:
    """Name and maker of what is no file, in the place of `path`, which is removed first."""

    def replaced(make: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            path.unlink()
            make()

        return run

    return [
        ("missing", replaced(lambda: None)),
        ("a folder", replaced(path.mkdir)),
        ("a FIFO", replaced(lambda: os.mkfifo(path))),
        ("a dangling link", replaced(lambda: path.symlink_to("nowhere"))),
        ("a link to itself", replaced(lambda: path.symlink_to(path.name))),
        ("a device", replaced(lambda: path.symlink_to("/dev/zero"))),
    ]


class Tally:
    """Counts of inputs that were read right, refused clearly, and at fault."""

    def __init__(self, what: str) -> None:
        self.what, self.counts, self.faults = what, Counter[str](), list[str]()

    def add(self, name: str, outcome: str) -> None:
        """`outcome` is "right", "clear", or what is at fault."""
        self.counts[outcome if outcome in ("right", "clear") else "at fault"] += 1
        if outcome not in ("right", "clear"):
            self.faults.append(f"{name}: {outcome}")

    def report(self) -> str:
        counts = self.counts
        return (
            f"{self.what}: {counts.total()} inputs, {counts['right']} right, {counts['clear']} clear errors, "
            f"{counts['at fault']} at fault"
        )


def sample(inputs: list[Any], most: int | None, seed: int = 0) -> list[Any]:
    """All of the inputs, or `most` of them, drawn with a fixed seed."""
    return inputs if most is None or most >= len(inputs) else random.Random(seed).sample(inputs, most)


def outcome_of(read: Callable[[], object], *, clear: tuple[type[Exception], ...], path: Path, is_right: bool = True) -> str:
    """What reading gives: "right", "clear" (a `clear` error of one line that names a path below `path`), or what is at fault."""
    try:
        read()
    except clear as error:
        text = str(error)
        if str(path) not in text or "\n" in text:
            return f"an unclear {type(error).__name__}: {text[:200]}"
        return "clear"
    except Exception as error:  # what fuzzing looks for
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "right" if is_right else "read without a word"
