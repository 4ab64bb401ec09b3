"""BLEU and CIDEr of a captioner on photos with human captions.

Takes any model that `explain` takes, in batches of photos, and reports how far it is to `progress(done, of)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from ..adapters.contract import TaskAdapter, reads_raw
from ..adapters.inputs import PAD
from ..core.call_scope import evaluation_mode
from ..core.images import load_image
from ..core.spans import sentence
from ..metrics.caption_scores import caption_scores, scorers
from ..models.vocabulary import split_words

Progress = Callable[[int, int], None]
Entry = TypeVar("Entry")


def silent(done: int, total: int) -> None:
    """Ignore progress."""


def evaluate_captions(
    model: TaskAdapter,
    images: Path,
    references: Mapping[str, Sequence[str]],
    *,
    batch_size: int = 32,
    progress: Progress = silent,
    **generation: int | float,
) -> dict[str, float]:
    """`BLEU-1` to `BLEU-4` and `CIDEr` of the model's captions for the photos `references` names in the
    folder `images`.

    Both sides are split by our tokeniser (lower case, no punctuation). `generation` goes to the decoder
    (`beam=3`).
    """
    scorers()  # a missing package costs no captions
    said = say(model, images, list(references), batch_size=batch_size, progress=progress, **generation)
    wanted = {name: [_tokenised(text) for text in texts] for name, texts in references.items()}
    return caption_scores({name: _tokenised(text) for name, text in said.items()}, wanted)


@torch.no_grad()
def say(
    model: TaskAdapter,
    images: Path,
    names: Sequence[str],
    *,
    batch_size: int = 32,
    progress: Progress = silent,
    **generation: int | float,
) -> dict[str, str]:
    """Captions that the model generates, by photo name; computes no maps."""
    said: dict[str, str] = {}
    with evaluation_mode(model.module):
        for batch in batches(names, batch_size):
            inputs = model.preprocess([load_image(images / name, raw=reads_raw(model)) for name in batch])
            rows = model.generate(inputs, **generation).tolist()
            for name, row in zip(batch, rows, strict=True):
                said[name] = sentence(model.spans([i for i in row if i != PAD]))
            progress(len(said), len(names))
    return said


def _tokenised(text: str) -> str:
    return " ".join(split_words(text))


def batches(things: Sequence[Entry], size: int) -> Iterator[Sequence[Entry]]:
    return (things[start : start + size] for start in range(0, len(things), size))
