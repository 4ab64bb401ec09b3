"""`batch`: `caption` over many photos, in one process and in three, and ended by kills and Ctrl-C."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioners import photo
from measuring import Measurement, Section

PHOTOS, ENDED_PHOTOS, ENDINGS = 1000, 60, 10
WORKERS = (1, 3)
SIZE = (320, 240)


def many_photos(model: str, **_: Any) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(Path(folder), PHOTOS)
        rates: dict[int, float] = {}
        for workers in WORKERS:
            start = time.perf_counter()
            _caption(photos, Path(folder, f"out{workers}"), model, workers).wait()
            rates[workers] = PHOTOS / (time.perf_counter() - start)
        same = _texts(Path(folder, "out1")) == _texts(Path(folder, "out3"))
        yield Measurement(
            f"{PHOTOS} photos",
            {"one": f"{rates[1]:.1f}/s", "three": f"{rates[3]:.1f}/s", "speedup": f"{rates[3] / rates[1]:.2f}"},
            {"same captions": "yes" if same else "no"},
        )


def ended(model: str, **_: Any) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        photos, out, draw = _photos(Path(folder), ENDED_PHOTOS), Path(folder, "out"), random.Random(0)
        kept, lost = 0, 0
        for _i in range(ENDINGS):
            process = _caption(photos, out, model)
            while process.poll() is None and len(_lines(out)) <= kept:
                time.sleep(0.01)
            time.sleep(draw.random())
            process.send_signal(draw.choice([signal.SIGKILL, signal.SIGINT]))
            process.wait()
            lost += max(0, kept - len(_lines(out)))
            kept = len(_lines(out))
        _caption(photos, out, model).wait()
        _caption(photos, Path(folder, "whole"), model).wait()
        same = _texts(out) == _texts(Path(folder, "whole"))
        yield Measurement(
            f"{ENDED_PHOTOS} photos, ended {ENDINGS} times",
            {"lost": str(lost), "done": str(len(_texts(out)))},
            {"aim": f"0, {ENDED_PHOTOS}", "equal to an undisturbed run": "yes" if same else "no"},
        )


def _photos(folder: Path, count: int) -> Path:
    place = folder / "photos"
    place.mkdir()
    for i in range(count):
        photo(i).resize(SIZE).save(place / f"{i:04}.jpg")
    return place


def _caption(photos: Path, out: Path, model: str, workers: int = 1) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "multimodal_cam.cli",
        "caption",
        photos,
        "--out",
        out,
        "--model",
        model,
        "--method",
        "grad_cam",
    ]
    more = ["--batch-size", 8, "--format", "json", "--workers", workers]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([str(arg) for arg in [*command, *more]], env=env, **silent)


def _lines(out: Path) -> list[bytes]:
    records = out / "results.jsonl"
    return records.read_bytes().splitlines() if records.is_file() else []


def _texts(out: Path) -> list[tuple[str, str]]:
    return [(record["image"], record["text"]) for record in map(json.loads, _lines(out))]


BATCH_SECTION = Section(
    "Many photos",
    f"`caption --method grad_cam --format json` over {PHOTOS} photos of {SIZE[0]} x {SIZE[1]}, starting included, one thread a "
    "worker: photos a second of one worker and of three.",
    many_photos,
)
ENDED_SECTION = Section(
    "Many photos, interrupted",
    f"The same over {ENDED_PHOTOS} photos, ended {ENDINGS} times at random moments by `kill -9` or Ctrl-C, each time after at "
    "least one more result, and repeated: `lost` results, and those that are `done` in the end.",
    ended,
)
