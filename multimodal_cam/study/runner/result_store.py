"""Folder of a study: shards, each written atomically, then merged into one table.

run.json          settings, hashes, versions: written first; other studies are refused
shards/000012/    results.parquet, nouns.parquet, errors.parquet, left_out.parquet of one shard, renamed into place
results.parquet   all shards in order, like the other tables; `shards` is then removed
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.drafts import LOCK, clear_drafts, lock_folder
from ...core.json_object import read_object
from ...core.parquet import pa, pq
from ...core.publication import FULL, new_folder
from ...core.signatures import SIGNATURE, append_entries, kind_of, own_files, remove_own_files, start_signature
from ..schema import table_schemas
from .shard_worker import ShardTables

TABLES = ("results", "nouns", "errors", "left_out")
SANITY = ("sanity.parquet", "sanity.html", "sanity.md", "plots")  # files of an earlier `study sanity`
STUDY, SHARD = "study", "shard"  # kinds of folders, in their signatures
GROUP = 65_536  # rows in a row group of the final table


class ResultStore:
    """Folder of a running study; made by `open_store`."""

    def __init__(self, folder: Path, metrics: Sequence[str]) -> None:
        self.folder, self.shards, self.schemas = folder, folder / "shards", table_schemas(metrics)

    @property
    def finished(self) -> bool:
        return bool(read_run(self.folder).get("finished"))

    def has(self, number: int) -> bool:
        return is_measured(self._place(number))

    def add(self, number: int, shard: ShardTables) -> None:
        """Write a shard. Raises OSError with advice when the disk is full (earlier shards stay), and ValueError for a column that
        the schema does not declare."""
        with _room(self.folder), new_folder(self._place(number), SHARD, overwrite=True) as new:
            for name in TABLES:
                table = to_table(name, getattr(shard, name), self.schemas[name])
                pq.write_table(table, new.draft / f"{name}.parquet", compression="zstd")

    def finish(self, count: int, remarks: dict[str, Any]) -> None:
        """Merge `count` shards, mark the run as finished in run.json, and only then remove the shards."""
        with _room(self.folder):
            for name in TABLES:
                self._merge(name, count)
            write_run(self.folder, read_run(self.folder) | remarks | {"finished": True})
        for number in range(count):
            shard = self._place(number)
            remove_own_files(self.shards, [f"{shard.name}/{name}" for name in own_files(shard)])
        if not any(self.shards.iterdir()):
            self.shards.rmdir()

    def _merge(self, name: str, count: int) -> None:
        partial, waiting, rows = self.folder / f".{name}.partial", [], 0
        with pq.ParquetWriter(partial, self.schemas[name], compression="zstd") as writer:
            for number in range(count):
                waiting.append(pq.read_table(self._place(number) / f"{name}.parquet", schema=self.schemas[name]))
                rows += len(waiting[-1])
                if rows >= GROUP or number == count - 1:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting, rows = [], 0
        os.replace(partial, self.folder / f"{name}.parquet")

    def _place(self, number: int) -> Path:
        return self.shards / f"{number:06}"


def is_measured(shard: Path) -> bool:
    """Whether a shard is there, of photos that could be opened: one that was absent may be there when the study goes on."""
    return shard.is_dir() and not any(row["model"] == "" for row in pq.read_table(shard / "errors.parquet").to_pylist())


def to_table(name: str, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Table of the rows, with NULL for missing columns. Raises ValueError for a column that the schema does not declare."""
    undeclared = {column for row in rows for column in row} - set(schema.names)
    if undeclared:
        raise ValueError(
            f"{name}: columns {', '.join(sorted(undeclared))} are not declared: give each an entry in study/schema.py"
        )
    return pa.Table.from_pylist(list(rows), schema=schema)


@contextmanager
def open_store(folder: Path, run: dict[str, Any], metrics: Sequence[str]) -> Iterator[ResultStore]:
    """Open the store in `folder`, locked for this process. `run` is the content of run.json.

    Raises FileExistsError when the folder holds another study (with the differences) or other files, and BlockingIOError when
    another process uses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot write to {str(folder)!r} ({error.strerror}): choose another folder") from error
    with lock_folder(folder):
        _check(folder, run)
        store = ResultStore(folder, metrics)
        if store.shards.is_dir():
            clear_drafts(store.shards)
        for left_over in [folder / f".{name}.partial" for name in TABLES]:
            left_over.unlink(missing_ok=True)
        yield store


def _check(folder: Path, run: dict[str, Any]) -> None:
    if not (folder / "run.json").is_file():
        if {path.name for path in folder.iterdir()} - {LOCK, SIGNATURE, ".run.json.partial", *SANITY}:
            raise FileExistsError(f"{str(folder)!r} is not empty and holds no study: choose another folder")
        with _room(folder):
            if kind_of(folder) != STUDY:
                start_signature(folder, STUDY)
                append_entries(folder, dict.fromkeys(["run.json", *(f"{name}.parquet" for name in TABLES)]))
            write_run(folder, run)
        return
    found = read_run(folder)
    differs = [said for part in ("settings", "files", "versions") for said in _differences(found.get(part, {}), run[part])]
    if differs:
        raise FileExistsError(
            f"{str(folder)!r} holds another study ({'; '.join(differs)}): choose another folder, or give the same command"
        )


def _differences(there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    for name in sorted(there.keys() | here.keys()):
        before, now = there.get(name), here.get(name)
        if before != now:
            yield f"{name}: there {_short(before)}, now {_short(now)}"


def _short(value: Any) -> str:
    said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return said if len(said) <= 40 else f"{said[:16]}…{said[-16:]}"


def read_run(folder: Path) -> dict[str, Any]:
    """Content of run.json. Raises FileNotFoundError if there is none."""
    path = folder / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{str(folder)!r} holds no study: run.json is missing")
    return dict(read_object(path, "give another folder to the study, and run it again").values)


def write_run(folder: Path, run: dict[str, Any]) -> None:
    partial = folder / ".run.json.partial"
    partial.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, folder / "run.json")


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Translate the error of a full disk into advice."""
    try:
        yield
    except OSError as error:
        if getattr(error.__cause__ or error, "errno", None) in FULL:
            raise OSError(
                f"cannot write to {str(folder)!r} ({error}): what was measured so far stays; free some space, and the same "
                "command goes on from there"
            ) from error
        raise
