"""The folder that a training run writes: signed as a model's, locked while the run lives, and nobody else's files touched."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.drafts import LOCK
from ...core.growing_folder import growing_folder
from ...core.signatures import SIGNATURE, append_entries, kind_of, start_signature

KIND = "model"
FILES = (
    "model.safetensors",
    "config.json",
    "familiarity.safetensors",
    "log.jsonl",
    "captions.json",
    "answers.json",
    "doubt.json",
    "checkpoint.pt",
)


def in_training_folder(train: Callable[..., Path]) -> Callable[..., Path]:
    """Run `train`, which takes `out` by name, while its folder is locked; see `training_folder`."""

    @functools.wraps(train)
    def run(*, out: Path, **given: object) -> Path:
        with training_folder(out):
            return train(out=out, **given)

    return run


@contextmanager
def training_folder(out: Path) -> Iterator[None]:
    """The folder of a run, new or begun earlier; one without any content is removed again.

    Raises FileExistsError for a folder of other things, by name, and BlockingIOError when another process trains into it.
    """
    if kind_of(out) is None and (out / "checkpoint.pt").is_file():
        start_signature(out, KIND)  # begun by a version that signed nothing
        append_entries(out, dict.fromkeys(FILES))
    new, empty = not out.exists(), not out.is_dir() or not any(out.iterdir())
    try:
        with growing_folder(out, KIND) as folder:
            folder.claim(*FILES)
            yield
    finally:
        if empty and out.is_dir() and {path.name for path in out.iterdir()} <= {SIGNATURE, LOCK}:
            for name in (SIGNATURE, LOCK):
                (out / name).unlink(missing_ok=True)
            if new:
                out.rmdir()
