"""Engines that work through shards: this process, processes of this machine, or Ray actors. Each gives the same results, in any
order.

A worker is made once in each process, by a picklable function: it loads the models. It takes the items of a shard, and a function
that it may tell how many of them are done.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing.connection import wait as wait_for_end
from typing import Any

from ..extras import needed_by
from .malloc import keep_freed_memory

Progress = Callable[[int], None]
Worker = Callable[[Sequence[Any], Progress], Any]
MakeWorker = Callable[[], Worker]
Shards = Mapping[int, Sequence[Any]]
Engine = Callable[[MakeWorker, Shards, int, Progress], Iterator[tuple[int, Any]]]

WAITING = 2  # shards that each process of a pool has before it: none is idle, and few results are in memory

_made: dict[str, Worker] = {}  # this process's worker


def local(make_worker: MakeWorker, shards: Shards, workers: int, progress: Progress) -> Iterator[tuple[int, Any]]:
    """Work through one shard after the other in this process, or through several at once in `workers` processes."""
    if workers > 1:
        yield from _in_processes(make_worker, shards, workers, progress)
        return
    keep_freed_memory()
    worker = make_worker()
    for number, items in shards.items():
        yield number, worker(items, progress)


def on_ray(make_worker: MakeWorker, shards: Shards, workers: int, progress: Progress) -> Iterator[tuple[int, Any]]:
    """Stream the shards through `workers` Ray actors, each of which makes one worker.

    Joins the cluster that `RAY_ADDRESS` names, or starts one on this machine.
    """
    with needed_by("--engine ray", "ray"):
        import ray
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, include_dashboard=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"number": number, "items": pickle.dumps(items)} for number, items in shards.items()]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Actor,
            fn_constructor_args=[make_worker],
            concurrency=workers,
            num_cpus=1,
        )
        for row in done.iter_rows():
            number = int(row["number"])
            yield number, pickle.loads(row["result"])
            progress(len(shards[number]))
    finally:
        if started:
            ray.shutdown()


class _Actor:
    """Worker in a process of Ray's."""

    def __init__(self, make_worker: MakeWorker) -> None:
        keep_freed_memory()
        self.worker = make_worker()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"number": row["number"], "result": pickle.dumps(self.worker(pickle.loads(row["items"]), _ignore))}


def _in_processes(make_worker: MakeWorker, shards: Shards, workers: int, progress: Progress) -> Iterator[tuple[int, Any]]:
    waiting = iter(shards.items())
    with _pool(min(workers, len(shards))) as pool:
        running: dict[Future[Any], int] = {}

        def start(count: int) -> None:
            for number, items in islice(waiting, count):
                running[pool.submit(_work, make_worker, items)] = number

        start(WAITING * workers)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number = running.pop(future)
                start(1)
                yield number, future.result()
                progress(len(shards[number]))


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this block, however it ends, and with this process, even if it is killed."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of torch's threads
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=partial(_prepare_process, workers))
    try:
        yield pool
        pool.shutdown()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker was killed, most likely for lack of memory: what was done so far stays; the same command with fewer "
            "--workers goes on from there"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()


def _prepare_process(workers: int) -> None:
    """Share the processor with the other workers, leave Ctrl-C to the main process, and end when it does."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // workers)))
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)


def _work(make_worker: MakeWorker, items: Sequence[Any]) -> Any:
    if "worker" not in _made:
        _made["worker"] = make_worker()
    return _made["worker"](items, _ignore)


def _ignore(_: int) -> None:
    """Progress inside another process is not told: a shard counts when it is back."""


ENGINES: Mapping[str, Engine] = {"local": local, "ray": on_ray}
