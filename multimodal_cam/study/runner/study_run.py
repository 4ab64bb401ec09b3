"""A run of a study, from settings to table: the remaining shards are measured and merged."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...adapters.layer_choice import resolve_layer
from ...adapters.load import load
from ...batch.engines import ENGINES
from ...core.channel_names import weights_sha256
from ...core.parquet import pq
from ...core.signatures import sha256
from ...core.spans import require_parser
from ...extras import is_installed
from ..config import Settings
from ..measure.controls import CONTROLS
from ..measure.method_variants import parse_method
from ..measure.row_maps import supports_method
from ..schema import METRIC_SPECS
from ..sources.photo_list import StudyPhoto, chunked
from .result_store import is_measured, open_store, read_run
from .shard_worker import ShardWorker

PACKAGES = ("multimodal-cam", "torch", "torchvision", "numpy", "spacy", "pyarrow")


def run_study(
    settings: Settings,
    items: Sequence[StudyPhoto],
    out: Path,
    *,
    files: Mapping[str, Path] = {},
    engine: str = "local",
    workers: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Path:
    """Measure the remaining `items`, write `results.parquet`, `errors.parquet`, `left_out.parquet` and `run.json`; returns `out`.

    `files` are hashed and recorded. `progress` is called with the number of photos done since its last call. An interrupted run
    resumes after its last whole shard. Raises FileExistsError when `out` holds another study, and ValueError when no photo could
    be measured.
    """
    check_settings(settings)
    shards = chunked(items, settings.shard_size)
    with open_store(out, run_record(settings, items, files), settings.metrics) as store:
        if store.finished:
            progress(len(items))
            return out
        left = {number: shard for number, shard in enumerate(shards) if not store.has(number)}
        progress(len(items) - sum(map(len, left.values())))
        if left:
            for number, shard in ENGINES[engine](partial(ShardWorker, settings), left, workers, progress):
                store.add(number, shard)
        store.finish(len(shards), {"photos": len(items)})
    return out


def check_settings(settings: Settings) -> None:
    """Raise ValueError for unknown names of scores, metrics, controls and methods.

    Raises MissingPackageError for a study of captions without spaCy, whose parse finds the nouns.
    """
    from ...scores import SCORES

    if settings.task == "captions":
        require_parser()
    known = {"scores": list(SCORES), "metrics": list(METRIC_SPECS)}
    known["controls"] = list(CONTROLS)
    for method in settings.methods:
        parse_method(method)
    for field, choices in {"methods": settings.methods, **known}.items():
        chosen = getattr(settings, field)
        wrong = [name for name in chosen if name not in choices]
        if wrong:
            raise ValueError(f"unknown {field} {', '.join(wrong)}; choose from {', '.join(sorted(choices))}")
        if (not chosen and field != "controls") or len(set(chosen)) < len(chosen):
            raise ValueError(f"{field}: expected one or more, each once, got {', '.join(chosen) or 'none'}")
    if len(set(settings.models)) < len(settings.models):
        raise ValueError(f"models: expected each once, got {', '.join(settings.models)}")


def hash_photos(items: Sequence[StudyPhoto]) -> str:
    """SHA-256 of the photos' names, captions, objects and questions; equal in all processes."""
    values = json.dumps([asdict(item) for item in items], default=sorted)  # sets are unordered
    return hashlib.sha256(values.encode()).hexdigest()


def run_record(settings: Settings, items: Sequence[StudyPhoto], files: Mapping[str, Path]) -> dict[str, Any]:
    """Content of run.json: runs with equal `settings`, `files` and `versions` write the same table."""
    hashes = {name: sha256(path) for name, path in files.items()}
    hashes["photos and what is known of them"] = hash_photos(items)
    hashes |= {f"model {name}": _weights(name, settings) for name in settings.models}
    return {
        "settings": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()},
        "files": hashes,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES if is_installed(name)},
        "seed": settings.seed,
        "command": sys.argv,
        "finished": False,
    }


def remaining_work(settings: Settings, items: Sequence[StudyPhoto], out: Path) -> tuple[int, int]:
    """Number of photos, and of shards, that a run into `out` would still measure; changes nothing."""
    shards = chunked(items, settings.shard_size)
    if (out / "run.json").is_file() and read_run(out).get("finished"):
        return 0, 0
    left = [shard for number, shard in enumerate(shards) if not is_measured(out / "shards" / f"{number:06}")]
    return sum(map(len, left)), len(left)


def failed_photos(out: Path) -> dict[str, str]:
    """Reason for each photo that a finished study could not measure."""
    return {row["image"]: row["message"] for row in pq.read_table(out / "errors.parquet").to_pylist()}


def _weights(name: str, settings: Settings) -> str:
    """Hash of a model's parameters and buffers. Raises ValueError for a model that supports none of the methods."""
    model = load(name, device="cpu")
    if not any(supports_method(model, method) for method in settings.methods):
        raise ValueError(f"{name} has no {', '.join(settings.methods)}: give it another of the --methods, or leave it out")
    for method in settings.methods:
        resolve_layer(model, parse_method(method).layer if settings.wanted(name, method, settings.scores[0]) else None)
    return weights_sha256(model.module)
