"""What the engine knows of a model: `TaskAdapter`, a protocol. One file per model family implements it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..geometry import Placement
from ..scores import ScoreFn
from ..spans import Span

PAD = -1  # right padding of ids, in every family
Unknown = Literal["error", "unk"]


@dataclass(frozen=True)
class Inputs:
    """What a model takes: `pixels` `(b, 3, H, W)`, and for each image where the layer's grid lies on it."""

    pixels: Tensor
    placements: tuple[Placement, ...]

    def __len__(self) -> int:
        return len(self.placements)

    def repeat(self, n: int) -> Inputs:
        """All images `n` times: the whole batch again and again, not each image."""
        return Inputs(self.pixels.repeat(n, 1, 1, 1), self.placements * n)


class TaskAdapter(Protocol):
    """A model, seen by the engine. `b` images, `t` tokens, `v` vocabulary, `(c, h, w)` the layer."""

    name: str
    module: nn.Module  # everything that has parameters: dotted layer names start here
    layer: nn.Module  # tapped by default
    readout: nn.Module | None  # hidden states (b, t, d) -> logits, position by position: the second cut
    affine: nn.Module | None  # what the head does first with the layer's output, if that is affine: evidence gets faster
    score: ScoreFn  # explained by default
    method: str  # used by default
    provenance: dict[str, str]  # weights' hash and the like, for the record

    def preprocess(self, images: Sequence[Image]) -> Inputs:
        """Upright RGB images -> what the model takes, on its device."""

    def generate(self, inputs: Inputs, question: str | None, **options: Any) -> Tensor:
        """The model's own text: ids `(b, t)` without start and end tokens, right-padded with `PAD`."""

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        """The user's texts: ids `(b, t)`, right-padded with `PAD`. Raises ValueError for a text that the model cannot say."""

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """One image's tokens as the model writes them."""

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        """One image's tokens -> words; `text` is the user's wording where there is one."""

    def logits(self, inputs: Inputs, question: str | None, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        """Teacher-forced logits `(b, t, v)`: position `i` scores `ids[:, i]` (`PAD` may stand there).

        With `activations` `(n b, c, h, w)` of `layer`, the head runs from them, `ids` has as many rows, and the backbone
        does not run.
        """

    def baseline(self, inputs: Inputs) -> Tensor:
        """A0: what `layer` holds when there is no photo, `(b, c, h, w)` or broadcastable to it."""

    def blank(self, inputs: Inputs) -> Inputs:
        """The same inputs with a mean-colour image in every place: the baseline of layers other than `layer`."""


class UnknownWordError(ValueError):
    """A word of the user's text that the model cannot say."""


def refuse_unknown(words: Iterable[str], known: Iterable[str]) -> None:
    """Raises UnknownWordError for the words that are not `known`, with near ones."""
    known = dict.fromkeys(known)
    unknown = [word for word in dict.fromkeys(words) if word not in known]
    if not unknown:
        return
    hints = []
    for word in unknown:
        near = difflib.get_close_matches(word, known, n=3)
        hints.append(f"{word!r} (near: {', '.join(near)})" if near else f"{word!r}")
    raise UnknownWordError(f"the model cannot say {', '.join(hints)}: choose another word, or unknown='unk' to feed it as <unk>")


def pad_ids(rows: Sequence[Sequence[int]], device: torch.device | None = None) -> Tensor:
    """Lists of ids -> `(b, t)`, right-padded with `PAD`."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows], device=device)
