"""check(): what must be true of any adapter, tried on a photo. For people who add a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.call_scope import unchanged_state
from ..core.errors import message
from ..core.grad_modes import UNKNOWN_PLACE, user_place
from ..core.images import load_image
from .adapter_trial import AdapterTrial, Finding, TrialRequest
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


Progress = Callable[[int, int, str], None]
READ = "preprocess, generate and tokenize"
NEEDED = {  # what an adapter must do in each trial, said where it raises an error instead
    READ: "they must take a photo, a question if the model wants one, and a text",
    "its own words are the likeliest": "logits(inputs, ids) must take what generate says",
    "no position sees the token that it scores": "logits(inputs, ids) must take any ids of the vocabulary",
    "the head is the rest of the network": "logits(inputs, ids, activations) must run what follows the layer, for several rows",
    "slopes are finite differences": "logits(inputs, ids, activations) must give a gradient to the activations",
    "two photos at once are each alone": "preprocess and logits must take two photos at once",
    "the placement is where preprocess puts the photo": "preprocess must take any photo of this size",
    "cells lie where the placement says": "logits must run the layer once, for any photo of this size",
    "the layer gives a grid": "choose another layer",
}


def check(
    model: TaskAdapter,
    image: ImageSource,
    *,
    text: str | None = None,
    question: str | None = None,
    layer: str | nn.Module | None = None,
    thorough: bool = False,
    progress: Progress | None = None,
) -> tuple[Check, ...]:
    """Tries on one photo what must be true of a model's adapter; maps of a model that fails are wrong.

    - Its own words are the likeliest ones where `logits` scores them: no position is off by one.
    - A position does not see the token that it scores, nor those behind it: the decoder's inputs are shifted.
    - `logits` from the layer's activations are those from the photo: the head is the rest of the network.
    - The slopes at the layer are finite differences.
    - Two photos at once are each photo alone.
    - The stated placement is the one that is measured with photos of known patterns.
    - A quarter of the photo changes its own quarter of the layer's grid most: cells stand where the placement says.

    Args:
        model: What `load`, `captioner`, `vqa` or `classifier` gave.
        image: As in `explain`.
        text: What is explained; None: what the model says.
        question: For a model that takes one.
        layer: A module or its dotted name; None: the model's own.
        thorough: Whether to try all of the text, with all steps of the finite differences; otherwise its first six tokens.
        progress: Called with the number of trials done, their number, and the name of the one that comes now.

    Returns:
        What was found, a `Check` for each trial: what failed names its probable cause and what to do. What an adapter raises
        fails the check in which it does. A layer that gives no grid is all that is said: no map can be made there.
        `print(*check(...), sep="\\n")` shows it, and `all(one.passed for one in check(...))` is for a test.
    """
    photo = load_image(image, raw=reads_raw(model))
    say = progress or (lambda *_: None)
    with unchanged_state(model.module), torch.no_grad():
        say(0, len(NEEDED) - 1, READ)
        try:
            trial = AdapterTrial(model, photo, TrialRequest(text, question, layer, thorough))
            tries = _tries(trial)
        except Exception as error:
            return (Check(READ, False, _failure(READ, error)),)
        done: list[Check] = []
        for number, (name, run) in enumerate(tries.items(), 1):
            say(number, len(tries) + 1, name)
            done.append(_tried(name, run))
        say(len(tries) + 1, len(tries) + 1, "")
        return tuple(done)


def _tries(trial: AdapterTrial) -> dict[str, Callable[[], Finding]]:
    """The trials by their names: where the layer gives no grid, few."""
    tries: dict[str, Callable[[], Finding]] = {
        "its own words are the likeliest": trial.words,
        "no position sees the token that it scores": trial.causality,
    }
    no_grid = trial.no_grid()
    if no_grid is not None:
        return tries | {"the layer gives a grid": lambda: (False, no_grid)}
    return tries | {
        "the head is the rest of the network": trial.head,
        "slopes are finite differences": trial.slopes,
        "two photos at once are each alone": trial.batch,
        "the placement is where preprocess puts the photo": trial.placement,
        "cells lie where the placement says": trial.places,
    }


def _tried(name: str, run: Callable[[], Finding]) -> Check:
    try:
        return Check(name, *run())
    except Exception as error:
        return Check(name, False, _failure(name, error))


def _failure(name: str, error: Exception) -> str:
    """An error of the adapter's, the line of the user's code that it comes from, and what the trial needs."""
    place = user_place(error.__traceback__)
    at = "" if place == UNKNOWN_PLACE else f", at {place}"
    return f"{type(error).__name__}: {message(error)}{at}; {NEEDED[name]}"
