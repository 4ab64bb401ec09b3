"""What a batch is asked to do, and the record by which a later run knows whether it may go on with a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from ..adapters.contract import TaskAdapter
from ..adapters.network_state import checksums
from ..core.files import photos_in
from ..metrics.overlap import BoxRule
from ..results.records import Scale

RUN = "run.json"
FORMAT = 1
FREE = ("asked", "finished")  # may differ between the runs of a folder
PACKAGES = ("multimodal-cam", "torch")
OutputFormat = Literal["html", "json", "parquet"]


@dataclass(frozen=True)
class BatchItem:
    """A photo, as the user named it, and a question about it."""

    image: str
    question: str | None = None


@dataclass(frozen=True)
class BatchSettings:
    """Settings of a batch.

    Attributes:
        command: Name of the command: `caption`, `vqa`, `classify`.
        model: Name that `load` takes.
        loading: Further options of `load`.
        options: Options of `explain`, but for its batch size.
        format: What is written beside `results.jsonl`: pages and saved explanations, nothing, or a table with the maps.
        figure: Draw a PNG of each explanation (`html` only).
        scale: Colour scale of the PNG.
        phrases: Add noun phrases to the records.
        boxes: Rule of the boxes that records, pages and figures show; None for none.
        batch_size: Photos that are explained together, which is also what a killed run may lose.
    """

    command: str
    model: str
    loading: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    format: OutputFormat = "html"
    figure: bool = True
    scale: Scale = "caption"
    phrases: bool = False
    batch_size: int = 32
    boxes: BoxRule | None = None


def run_record(settings: BatchSettings, model: TaskAdapter, asked: Sequence[str]) -> dict[str, Any]:
    """Content of run.json. Runs whose records differ only in `asked`, photos and questions as the user wrote them, and `finished`
    give equal results for equal photos, up to rounding."""
    loading = {name: value for name, value in settings.loading.items() if name != "device"}
    chosen = {"model": settings.model, "weights": weights_of(model), **loading, **settings.options}
    drawn: dict[str, Any] = {"figure": settings.figure, "scale": settings.scale} if settings.format == "html" else {}
    drawn |= {} if settings.boxes is None else {"boxes": settings.boxes}
    return {
        "format": FORMAT,
        "command": settings.command,
        "settings": {name: str(value) for name, value in sorted(chosen.items()) if value is not None},
        "output": {"format": settings.format, "phrases": settings.phrases} | drawn,
        "versions": {name: version(name) for name in PACKAGES},
        "asked": list(asked),
        "finished": False,
    }


def weights_of(model: TaskAdapter) -> str:
    """Checksum of the values of a network's parameters and buffers; its name in the provenance where they cannot be read."""
    sums = checksums(model.module.state_dict().values())
    if not isinstance(sums, frozenset):
        return str(model.provenance.get("weights", "unknown"))
    numbers = sorted(number for _, on_device in sums for number in on_device)
    return hashlib.sha256(repr(numbers).encode()).hexdigest()[:16]


def is_unfinished(there: Mapping[str, Any] | None, here: Mapping[str, Any]) -> bool:
    """Whether `there` is the record of a run that the command of `here` began and did not finish."""
    return there is not None and not there.get("finished") and there.get("asked") == here["asked"] and not differing(there, here)


def differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What two runs do not have in common and must, to share a folder."""
    first, second = ({name: run[name] for name in run if name not in FREE} for run in (there, here))
    return list(differences(first, second))


def differences(there: Mapping[str, Any], here: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield what two records do not have in common: `method: there evidence, now grad_cam`."""
    for name in sorted(there.keys() | here.keys()):
        before, now = there.get(name), here.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from differences(before, now, f"{path}{name}: ")
        elif before != now:
            yield f"{path}{name}: there {_short(before)}, now {_short(now)}"


def _short(value: Any) -> str:
    said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return said if len(said) <= 40 else f"{said[:16]}…{said[-16:]}"


def read_run(folder: Path) -> dict[str, Any] | None:
    """Content of run.json; None where there is none. Raises ValueError for a file that is no JSON object."""
    path = folder / RUN
    if not path.is_file():
        return None
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged ({error}): choose another folder") from error
    if not isinstance(run, dict):
        raise ValueError(f"{str(path)!r} is damaged (no JSON object): choose another folder")
    return run


def write_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Write run.json atomically."""
    partial = folder / f".{RUN}.partial"
    partial.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, folder / RUN)


def photo_items(photos: Sequence[str], questions: Sequence[str] = ()) -> list[BatchItem]:
    """Photos, and those in folders, each with each question, if there are any; what is named twice is there once."""
    asked: Sequence[str | None] = questions or [None]
    return list(dict.fromkeys(BatchItem(image, question) for image in photos_in(photos) for question in asked))
