"""Timing, and what a measurement looks like when printed and in docs/benchmarks.md."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PACKAGES = ("multimodal-cam", "torch", "torchvision", "timm", "captum", "grad-cam", "torchcam", "pycocoevalcap")


@dataclass(frozen=True)
class Measurement:
    """`values` are printed behind the name and stand in the table, `notes` (aims, absolute times) in the
    table only."""

    name: str
    values: Mapping[str, str]
    notes: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        return " ".join([self.name, *(part for pair in self.values.items() for part in pair)])


@dataclass(frozen=True)
class Section:
    """One selection of the benchmark: what is measured and how, for the reader of the table, and the
    measuring itself."""

    title: str
    protocol: str
    measure: Callable[..., Iterator[Measurement]]


def medians(work: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median seconds of each piece of work, run in turns (one warm-up first) so that a slow minute hits all
    alike."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeat + 1):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: median(taken) for name, taken in times.items()}


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def write(key: str, section: Section, measurements: Sequence[Measurement], document: Path = DOCUMENT) -> None:
    """Puts the section into the document, in the place of an earlier run's; the other sections stay."""
    text = document.read_text(encoding="utf-8") if document.exists() else "# Benchmarks\n\n`make bench` writes this page.\n"
    head, foot = f"<!-- {key} -->\n", f"<!-- end {key} -->\n"
    block = f"{head}## {section.title}\n\n{section.protocol}\n\n{_table(measurements)}\n{_machine()}\n{foot}"
    old = re.compile(re.escape(head) + ".*?" + re.escape(foot), re.DOTALL)
    text = old.sub(lambda _: block, text) if old.search(text) else f"{text.rstrip()}\n\n{block}"
    document.parent.mkdir(exist_ok=True)
    document.write_text(text, encoding="utf-8")


def _table(measurements: Sequence[Measurement]) -> str:
    rows = [{**m.values, **m.notes} for m in measurements]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[m.name, *(row.get(c, "") for c in columns)] for m, row in zip(measurements, rows, strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _machine() -> str:
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {torch.get_num_threads()} threads, {_accelerator()}"
        f"Python {platform.python_version()}, {versions}.\n"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _accelerator() -> str:
    return f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
