"""`results.jsonl` of a batch: a line for each result, appended when the result is whole, put in order when the run ends.

The file is also how a later run knows what is done. Of a killed run, half a line at the end is cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .batch_settings import BatchItem

RECORDS = "results.jsonl"


class LoggedLine(NamedTuple):
    """Where a record lies in the file, and whether it tells of a failure."""

    start: int
    stop: int
    failed: bool


class RecordLog:
    """The records of a batch on disk; in memory only where each of them is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS
        self.lines: dict[BatchItem, LoggedLine] = {}
        self._end = 0
        if self.path.is_file():
            self._read()

    def append(self, item: BatchItem, record: dict[str, Any]) -> None:
        """Write a record in one piece; a failure never hides an earlier result."""
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        with self.path.open("ab", buffering=0) as file:
            file.truncate(self._end)  # half a line of a write that failed
            if file.write(line) != len(line):
                file.truncate(self._end)
                raise OSError(28, os.strerror(28), str(self.path))
        self._note(item, LoggedLine(self._end, self._end + len(line), "error" in record))
        self._end += len(line)

    def forget(self, item: BatchItem) -> None:
        """Take a result for not done."""
        self.lines.pop(item, None)

    def done(self) -> list[BatchItem]:
        """Items that have a result and no failure."""
        return [item for item, line in self.lines.items() if not line.failed]

    def records(self, items: Iterable[BatchItem]) -> Iterator[dict[str, Any]]:
        """Yield the records of the items that have one."""
        if self.lines:
            with self.path.open("rb") as file:
                for item in items:
                    if item in self.lines:
                        line = self.lines[item]
                        file.seek(line.start)
                        yield json.loads(file.read(line.stop - line.start))

    def sort(self, items: Iterable[BatchItem]) -> None:
        """Leave one line for each item, in this order."""
        kept = [item for item in items if item in self.lines]
        spans = [self.lines[item] for item in kept]
        if [line.start for line in spans] == [0, *(line.stop for line in spans[:-1])] and spans[-1].stop == self._end:
            return
        partial = self.path.with_name(f".{RECORDS}.partial")
        with self.path.open("rb") as old, partial.open("wb") as new:
            for line in spans:
                old.seek(line.start)
                new.write(old.read(line.stop - line.start))
        os.replace(partial, self.path)
        self.lines, self._end = {}, 0
        for item, line in zip(kept, spans, strict=True):
            self._note(item, LoggedLine(self._end, self._end + line.stop - line.start, line.failed))
            self._end += line.stop - line.start

    def _note(self, item: BatchItem, line: LoggedLine) -> None:
        known = self.lines.get(item)
        if known is None or known.failed or not line.failed:
            self.lines[item] = line

    def _read(self) -> None:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                record = _parsed(line)
                if record is None:
                    raise ValueError(f"{str(self.path)!r}, line {number}, is damaged: choose another folder")
                self._note(
                    BatchItem(record["image"], record.get("question")),
                    LoggedLine(self._end, self._end + len(line), "error" in record),
                )
                self._end += len(line)


def photo_facts(path: str) -> dict[str, Any]:
    """Size and hash of a photo's file, by which a later run notices that it was replaced; nothing for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError:
        return {}


def is_replaced(record: dict[str, Any], since: float) -> bool:
    """Whether a photo is another one than the record tells of.

    Args:
        since: Time at which the record was written, at the latest; a file of the same size that is older is not read again.
    """
    facts = record.get("file", {})
    try:
        found = os.stat(record["image"])
    except OSError:
        return False  # what is gone was explained while it was there
    if not facts or (found.st_size == facts["bytes"] and found.st_mtime < since):
        return False
    return bool(photo_facts(record["image"]) != facts)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("image"), str) else None
