"""A run of a batch: what is left is explained, and each result is written as it comes."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..adapters.contract import TaskAdapter
from ..core.drafts import unused
from ..core.errors import message
from ..core.publication import FULL
from ..core.spans import require_parser
from .batch_folder import BatchFolder
from .batch_settings import BatchItem, BatchSettings, is_unfinished, read_run
from .batch_worker import ExplanationWorker, RemoteWorker
from .engines import ENGINES, Shards

ALIKE = 4  # results that fail first, all with the same words: then it is no photo's fault


@dataclass(frozen=True)
class BatchEngine:
    """How a batch is run, which its results do not depend on."""

    name: str = "local"
    workers: int = 1
    stop_on_error: bool = False


@dataclass
class BatchProgress:
    """What a batch has done so far.

    Attributes:
        total: Items that were asked for.
        done: Items with a result, of earlier runs, too.
        failures: Items that failed in this run, and their errors.
    """

    total: int
    done: int = 0
    failures: list[tuple[BatchItem, Exception]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether every item has a result or failed."""
        return self.done + len(self.failures) == self.total


def check_packages(settings: BatchSettings) -> None:
    """Raise MissingPackageError for a package that the results will need, before a model is loaded."""
    if settings.phrases:
        require_parser()
    if settings.format == "parquet":
        from . import batch_table  # noqa: F401


def run_batch(
    settings: BatchSettings,
    left: Sequence[BatchItem],
    model: TaskAdapter,
    folder: BatchFolder | None,
    engine: BatchEngine,
    progress: BatchProgress,
) -> Iterator[dict[str, Any]]:
    """Explain the items that are left, write each result to `folder`, if there is one, and yield its record.

    Items that fail are skipped and noted in `progress`. An error is raised for the only item, with `stop_on_error`, for a full
    disk, and when the first items fail in the same words. Whatever ends the run, results so far are kept.
    """
    for results in _results(settings, left, model, engine):
        for result in results:
            if result.error is not None:
                progress.failures.append((result.item, result.error))
                _stop_if_hopeless(progress, engine.stop_on_error)
            record = result.record if folder is None else folder.add(result)
            progress.done += result.error is None
            yield record
        if folder is not None:
            folder.end_shard()


def _results(settings: BatchSettings, left: Sequence[BatchItem], model: TaskAdapter, engine: BatchEngine) -> Iterator[Any]:
    """Yield the results of each shard, as an iterator of them where they come one by one."""
    if not left:
        return
    size = settings.batch_size
    if engine.workers > 1:  # small enough for all workers to have something to do
        size = min(size, -(-len(left) // (2 * engine.workers)))
    shards: Shards = {number: left[start : start + size] for number, start in enumerate(range(0, len(left), size))}
    if engine.name == "local" and engine.workers == 1:
        make_worker: Any = partial(ExplanationWorker, settings, model)
    else:
        make_worker = partial(RemoteWorker, settings)
    for _, results in ENGINES[engine.name](make_worker, shards, engine.workers, lambda _: None):
        yield results


def _stop_if_hopeless(progress: BatchProgress, stop: bool) -> None:
    """Raise the last failure's error if the run shall not, or need not, go on."""
    _, error = progress.failures[-1]
    if stop or progress.total == 1 or getattr(error, "errno", None) in (*FULL, errno.EMFILE, errno.ENFILE):
        raise error
    said = {message(failure) for _, failure in progress.failures}
    if progress.done == 0 and len(said) == 1 and len(progress.failures) == min(ALIKE, progress.total):
        raise error


def unfinished_or_unused(base: Path, run: dict[str, Any]) -> Path:
    """`base`, `base-2` and so on: the first that holds an unfinished run of this command, or else the first that is not there."""
    free = unused(base)
    candidate, number = base, 1
    while candidate != free:
        if is_unfinished(read_run(candidate), run):
            return candidate
        number += 1
        candidate = base.with_name(f"{base.name}-{number}")
    return free
