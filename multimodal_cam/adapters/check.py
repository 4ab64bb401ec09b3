"""check(): what must be true of any adapter, tried on a photo. For people who add a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.call_scope import unchanged_state
from ..core.images import load_image
from .adapter_trial import AdapterTrial, Finding
from .contract import TaskAdapter, reads_raw

if TYPE_CHECKING:
    from ..core.images import ImageSource


@dataclass(frozen=True)
class Check:
    """What was tried, whether it is so, and by how much; what failed names its cause."""

    name: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok    ' if self.passed else 'FAILED'} {self.name}: {self.detail}"


def check(
    model: TaskAdapter,
    image: ImageSource,
    *,
    text: str | None = None,
    question: str | None = None,
    layer: str | nn.Module | None = None,
) -> tuple[Check, ...]:
    """Tries on one photo what must be true of a model's adapter; maps of a model that fails are wrong.

    - Its own words are the likeliest ones where `logits` scores them: no position is off by one.
    - `logits` from the layer's activations are those from the photo: the head is the rest of the network.
    - The slopes at the layer are finite differences.
    - Two photos at once are each photo alone.
    - The stated placement is the one that is measured with photos of known patterns.
    - A quarter of the photo changes its own quarter of the layer's grid most: cells stand where the placement says.

    `text` is what is explained, by default what the model says; `layer` a module or its dotted name, by default the model's own.
    A layer that gives no grid is all that is said: no map can be made there. `print(*check(...), sep="\\n")` shows what was
    found, and `all(one.passed for one in check(...))` is for a test. What an adapter raises fails the check in which it does.
    """
    photo = load_image(image, raw=reads_raw(model))
    with unchanged_state(model.module), torch.no_grad():
        try:
            trial = AdapterTrial(model, photo, text, question, layer)
        except Exception as error:
            return (Check("preprocess, generate and tokenize", False, _message(error)),)
        tries: dict[str, Callable[[], Finding]] = {"its own words are the likeliest": trial.words}
        no_grid = trial.no_grid()
        if no_grid is not None:
            tries["the layer gives a grid"] = lambda: (False, no_grid)
        else:
            tries |= {
                "the head is the rest of the network": trial.head,
                "slopes are finite differences": trial.slopes,
                "two photos at once are each alone": trial.batch,
                "the placement is where preprocess puts the photo": trial.placement,
                "cells lie where the placement says": trial.places,
            }
        return tuple(_tried(name, run) for name, run in tries.items())


def _tried(name: str, run: Callable[[], Finding]) -> Check:
    try:
        return Check(name, *run())
    except Exception as error:
        return Check(name, False, _message(error))


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
