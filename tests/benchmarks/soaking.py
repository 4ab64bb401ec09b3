"""`soak`: explanations in many threads on two models, beside one that predicts: equal results, memory, waiting."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from captioners import nic, photo
from measuring import Measurement, Section

import multimodal_cam as mc

CALLS, THREADS = 500, 8
EVERY = 10  # calls between two looks at the memory
WARM = 100  # calls before memory is looked at: caches fill
MEMORY = Path("/proc/self/statm")
PAGE = 4096


def soak(model: str, vqa_model: str, **_: Any) -> Iterator[Measurement]:
    captioner, answerer, photos = nic(model), mc.load(vqa_model, device="cpu"), [photo(seed) for seed in range(4)]

    def explain(i: int) -> torch.Tensor:
        image = photos[i // 2 % len(photos)]
        if i % 2:
            return mc.explain(answerer, image, question="what is the dog doing?").maps
        return mc.explain(captioner, image, text="a dog runs on the grass", method="grad_cam").maps

    distinct = 2 * len(photos)
    start = time.perf_counter()
    expected = [explain(i) for i in range(distinct)]
    alone = (time.perf_counter() - start) / distinct
    done, memory = itertools.count(1), list[tuple[int, float]]()

    def call(i: int) -> bool:
        same = torch.equal(explain(i), expected[i % distinct])
        count = next(done)
        if count % EVERY == 0 and MEMORY.exists():
            memory.append((count, int(MEMORY.read_text().split()[1]) * PAGE / 2**20))
        return same

    with _Bystander(captioner, photos) as bystander, ThreadPoolExecutor(THREADS) as pool:
        start = time.perf_counter()
        same = sum(pool.map(call, range(CALLS)))
        seconds = time.perf_counter() - start
    yield Measurement(
        f"{CALLS} calls in {THREADS} threads",
        {"equal": f"{same}", "predictions-equal": f"{bystander.equal}/{bystander.count}", "growth": f"{_slope(memory):.2f}"},
        {"aim": f"{CALLS}, all, 0 MB in 100 calls", "call": f"{seconds / CALLS:.2f} s", "alone, one thread": f"{alone:.2f} s"},
    )


class _Bystander:
    """A thread that only predicts, all the while, and looks whether it gets what it got alone."""

    def __init__(self, captioner: Any, photos: list[Any]) -> None:
        self.network, self.pixels = captioner.network, captioner.preprocess(photos[:1]).pixels
        self.count = self.equal = 0

    def __enter__(self) -> _Bystander:
        self.stop, self.expected = threading.Event(), self._predict()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()

    def _predict(self) -> torch.Tensor:
        with torch.no_grad():
            return self.network.cells(self.pixels)

    def _run(self) -> None:
        while not self.stop.is_set():
            found = self._predict()
            self.count += 1
            self.equal += not found.requires_grad and torch.equal(found, self.expected)


def _slope(memory: list[tuple[int, float]]) -> float:
    """Megabytes that 100 calls add, by least squares, once the caches are full."""
    late = torch.tensor([point for point in memory if point[0] > WARM], dtype=torch.float64)
    if len(late) < 2:
        return float("nan")
    calls, size = (late - late.mean(dim=0)).unbind(dim=1)
    return float(100 * (calls * size).sum() / calls.square().sum())


SOAK_SECTION = Section(
    "Many threads",
    f"{CALLS} calls of `explain` in {THREADS} threads, in turns our captioner (`grad_cam`, a text of six words) and our VQA "
    "model, on four photos, while another thread predicts with the captioner's network without a pause. `equal`: calls whose "
    "maps are, bit for bit, those of one thread alone; `predictions-equal`: the same of the predictions; `growth`: megabytes of "
    "resident memory that 100 calls add, after the first 100. Calls on one model come one after the other: threads make nothing "
    "faster here.",
    soak,
)
