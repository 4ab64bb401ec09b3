"""Work in several threads at once, with what went wrong and what would have waited for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

TIMEOUT = 300.0  # seconds after which a thread counts as waiting for ever


def run_together(*jobs: Callable[[], Any]) -> list[Any]:
    """What each job gives, all of them begun at once. Raises the first error; TimeoutError for a job that does not end."""
    results: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []
    ready = threading.Barrier(len(jobs))

    def run(i: int) -> None:
        try:
            ready.wait()
            results[i] = jobs[i]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    _join(threads)
    if errors:
        raise errors[0]
    return results


@contextmanager
def meanwhile(*jobs: Callable[[], Any]) -> Iterator[None]:
    """Each job again and again in a thread of its own, as long as this lasts, twice at least. Raises the first error."""
    stop, errors = threading.Event(), list[BaseException]()

    def run(job: Callable[[], Any]) -> None:
        runs = 0
        try:
            while not stop.is_set() or runs < 2:
                job()
                runs += 1
                time.sleep(0)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        _join(threads)
    if errors:
        raise errors[0]


def _join(threads: Sequence[threading.Thread]) -> None:
    end = time.monotonic() + TIMEOUT
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        raise TimeoutError(f"{sum(thread.is_alive() for thread in threads)} of {len(threads)} threads still wait")
