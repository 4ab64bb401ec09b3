"""The folder of a batch: it grows with each result, and is put in order when a run ends, for whatever reason.

run.json         settings and versions: a later run with others is refused
results.jsonl    a record for each photo and question
results.parquet  rows with maps (format `parquet`); `shards/` while the run works
dog/             page, thumbnail, figure and saved explanation of a photo (format `html`)
index.html       all photos, or, for a single one, its page
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.drafts import LOCK, retold
from ..core.growing_folder import GrowingFolder, growing_folder
from ..core.publication import FULL, check_target
from ..core.signatures import foreign_names, kind_of, own_files, remove_own_files, start_signature
from ..render.index_page import ENTRIES, IndexEntry, entries_script, index_pages
from ..results.io import write_explanation
from .batch_settings import RUN, BatchItem, differing, is_unfinished, read_run, write_run
from .batch_worker import PAGE, THUMBNAIL, ItemResult
from .folder_names import folder_names
from .record_log import RECORDS, RecordLog, is_replaced

KIND = "report"  # of the folder, in its signature
PHOTOS_A_PAGE = 50  # questions about one photo that its page shows


class BatchFolder:
    """A folder with the results of a batch, which this process has locked.

    Raises FileExistsError when it holds a batch with other settings and `overwrite` is False.
    """

    def __init__(self, folder: GrowingFolder, run: dict[str, Any], *, overwrite: bool = False) -> None:
        self.folder, self.path, self.run = folder, folder.path, run
        self._replaces = not self._may_go_on(overwrite)
        self.log = RecordLog(Path("nowhere") if self._replaces else self.path)
        self.names: dict[BatchItem, str] = {}
        self._rows: list[ItemResult] = []  # results whose rows are in no shard yet
        self._failed_first: list[ItemResult] = []  # failures before the first result

    @property
    def format(self) -> str:
        return str(self.run["output"]["format"])

    @property
    def is_empty(self) -> bool:
        """Whether the folder holds no result of this batch."""
        return not self.log.lines

    def left(self, items: Sequence[BatchItem]) -> list[BatchItem]:
        """Items that have no result, or whose photo was replaced since."""
        self.names = folder_names(items, self._names_so_far(), self._foreign_names())
        done = set(self.log.done()) & self._written()
        since = (self.path / RECORDS).stat().st_mtime if done else 0.0
        for record in self.log.records([item for item in items if item in done]):
            if is_replaced(record, since):
                done.discard(_item_of(record))
        return [item for item in items if item not in done]

    def add(self, result: ItemResult) -> dict[str, Any]:
        """Write a result, whole or not at all; returns its record. Of failures alone nothing is written."""
        record = result.record
        if result.error is not None and self.is_empty:
            self._failed_first.append(result)
            return record
        with self._room():
            self._begin()
            if result.explanation is not None:
                name = self.names[result.item]
                self._save(result, name)
                record = record | {"folder": name}
            if result.rows:
                self._rows.append(result)
            else:
                self.log.append(result.item, record)
        return record

    def end_shard(self) -> None:
        """Write the rows of the results that came since the last shard, then their records."""
        if not self._rows:
            return
        from .batch_table import shard_name, write_shard

        with self._room():
            name = shard_name(self.path)
            self.folder.claim(name)
            write_shard(self.path / name, [row for result in self._rows for row in result.rows])
            for result in self._rows:
                self.log.append(result.item, result.record)
        self._rows = []

    def close(self, items: Sequence[BatchItem], *, finished: bool) -> Path | None:
        """Put records, table and index in the order of the items, after those of earlier runs; returns what to look at first."""
        self.end_shard()
        if self.is_empty:
            return None
        with self._room():
            asked = set(items)
            order = [*(item for item in self.log.lines if item not in asked), *items]
            self.log.sort(order)
            if self.format == "parquet":
                self._close_table(order, finished)
            index = self._write_index(order) if self.format == "html" else None
            write_run(self.path, self.run | {"finished": finished})
        return index or self.path / (RECORDS if self.format == "json" else "results.parquet")

    def _may_go_on(self, overwrite: bool) -> bool:
        """Whether the folder is empty or holds this very batch. With `overwrite`, a finished one is replaced, too."""
        there = read_run(self.path)
        if there is None:
            return not (self.path / RECORDS).exists()
        differs = differing(there, self.run)
        if overwrite:
            return is_unfinished(there, self.run)
        if differs:
            raise FileExistsError(
                f"{str(self.path)!r} holds results of other settings ({'; '.join(differs)}): choose another folder, "
                "overwrite it, or give the same command"
            )
        return True

    def _begin(self) -> None:
        """Sign for the files of the run before the first result; only now an earlier report that is to be replaced goes."""
        if self._replaces:
            check_target(self.path, KIND, overwrite=True)
            remove_own_files(self.path, own_files(self.path))
            start_signature(self.path, KIND)
            self.folder.names.clear()
            self.log, self._replaces = RecordLog(self.path), False
        if RUN not in self.folder.names:
            self.folder.claim(RUN, RECORDS, f".{RUN}.partial", f".{RECORDS}.partial")
            write_run(self.path, self.run)
        for failed in self._failed_first:
            self.log.append(failed.item, failed.record)
        self._failed_first = []

    def _save(self, result: ItemResult, name: str) -> None:
        assert result.explanation is not None
        self.folder.claim(f"{name}/")

        def add_files(folder: Path) -> None:
            for file, content in result.files.items():
                (folder / file).write_bytes(content)

        place = self.path / name
        write_explanation(result.explanation, place, overwrite=place.exists(), copy=result.copy, more=add_files)

    def _foreign_names(self) -> list[str]:
        """Names that no new folder may have: somebody else's, and what a person has added to when all of ours is replaced."""
        if self._replaces:
            return foreign_names(self.path)
        return [name for name in os.listdir(self.path) if not self.folder.names & {name, f"{name}/"}]

    def _names_so_far(self) -> dict[BatchItem, str]:
        records = self.log.records(self.log.done())
        return {_item_of(record): record["folder"] for record in records if "folder" in record}

    def _written(self) -> set[BatchItem]:
        """Items whose files are there."""
        if self.format == "parquet":
            from .batch_table import tabled_items

            return set(tabled_items(self.path))
        if self.format == "html":
            return {item for item, name in self.names.items() if (self.path / name / PAGE).is_file()}
        return set(self.log.done())

    def _close_table(self, order: Sequence[BatchItem], finished: bool) -> None:
        from .batch_table import SHARDS, TABLE, merge_shards

        if not finished:
            return  # the next run has the shards
        self.folder.claim(TABLE, f".{TABLE}.partial")
        merge_shards(self.path, order)
        remove_own_files(self.path, [name for name in own_files(self.path) if name.startswith(f"{SHARDS}/")])

    def _write_index(self, order: Sequence[BatchItem]) -> Path | None:
        entries = [_entry(record) for record in self.log.records(order) if "folder" in record]
        if not entries:
            return None
        if len({entry.image for entry in entries}) == 1:
            from .._explanation import Explanation
            from ..render.html import page

            self._publish(PAGE, page([Explanation.load(self.path / entry.folder) for entry in entries[:PHOTOS_A_PAGE]]))
            self._publish(ENTRIES, entries_script(entries, cards_a_page=0))
        else:
            for name, content in index_pages(entries, PAGE, THUMBNAIL):
                self._publish(name, content)
            self._publish(ENTRIES, entries_script(entries))
        return self.path / PAGE

    def _publish(self, name: str, content: str) -> None:
        """Write a file of the folder atomically."""
        self.folder.claim(name, f".{name}.partial")
        partial = self.path / f".{name}.partial"
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, self.path / name)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Translate the error of a full disk into advice."""
        try:
            yield
        except OSError as error:
            if error.errno is None or error.errno not in FULL:
                raise
            done, reason = len(self.log.done()), os.strerror(error.errno)
            stays = f"the {done} results so far stay" if done else "nothing was written"
            raise retold(
                error,
                f"cannot write to {str(self.path)!r} ({reason}), {stays}: free some space, and the same command goes on, or "
                "choose another folder",
            ) from error


@contextmanager
def batch_folder(path: Path) -> Iterator[GrowingFolder]:
    """The folder at `path`, new or begun by an earlier run, locked for this process; without a result it goes again."""
    was_there = path.is_dir()
    if was_there and kind_of(path) != KIND:
        check_target(path, KIND, overwrite=False)
    try:
        with growing_folder(path, KIND) as folder:
            yield folder
    finally:
        _remove_if_empty(path, was_there)


def _remove_if_empty(path: Path, was_there: bool) -> None:
    records = path / RECORDS
    if kind_of(path) != KIND or (records.is_file() and records.stat().st_size):
        return
    remove_own_files(path, own_files(path))
    (path / LOCK).unlink(missing_ok=True)
    if not was_there and not any(path.iterdir()):
        path.rmdir()


def _item_of(record: dict[str, Any]) -> BatchItem:
    return BatchItem(record["image"], record.get("question"))


def _entry(record: dict[str, Any]) -> IndexEntry:
    return IndexEntry(record["image"], record["text"], record.get("question"), record["folder"])
