"""Engines that measure shards: this process, or Ray actors. Both give the same shards, in any order."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..config import Settings
from ..sources.photo_list import StudyPhoto
from .malloc import keep_freed_memory
from .shard_worker import ShardTables, ShardWorker

Shards = Mapping[int, Sequence[StudyPhoto]]
Engine = Callable[[Settings, Shards, int, Callable[[int], None]], Iterator[tuple[int, ShardTables]]]


def local(settings: Settings, shards: Shards, workers: int, progress: Callable[[int], None]) -> Iterator[tuple[int, ShardTables]]:
    """Measure one shard after the other; at most one is in memory."""
    if workers != 1:
        raise ValueError(f"the local engine works alone, got {workers} workers: --engine ray has as many as you like")
    keep_freed_memory()
    worker = ShardWorker(settings)
    for number, items in shards.items():
        yield number, worker(items, progress)


def on_ray(
    settings: Settings, shards: Shards, workers: int, progress: Callable[[int], None]
) -> Iterator[tuple[int, ShardTables]]:
    """Stream the shards through `workers` Ray actors, each of which loads the models once.

    Joins the cluster that `RAY_ADDRESS` names, or starts one on this machine.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("--engine ray needs Ray: pip install 'multimodal-cam[ray]'") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, include_dashboard=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"number": number, "items": pickle.dumps(items)} for number, items in shards.items()]
        measured = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Actor,
            fn_constructor_args=[settings],
            concurrency=workers,
            num_cpus=1,
        )
        for row in measured.iter_rows():
            number = int(row["number"])
            yield number, pickle.loads(row["shard"])
            progress(len(shards[number]))
    finally:
        if started:
            ray.shutdown()


class _Actor:
    """Worker in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        keep_freed_memory()
        self.worker = ShardWorker(settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"number": row["number"], "shard": pickle.dumps(self.worker(pickle.loads(row["items"])))}


ENGINES: Mapping[str, Engine] = {"local": local, "ray": on_ray}
