"""Models that choose one of several labels: an answer to a question, a class. Their text is one token over the labels."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from ..spans import Span
from . import UnknownWordError


class Labels:
    """The labels as a tokenizer: `names[i]` has id `i`.

    A label may have several names, separated by commas (`tabby, tabby cat`); it is found by each of them that no other label
    has, and by all of them together, whatever the case.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.ids = {_plain(label): i for i, label in enumerate(self.names)}
        self._called: dict[str, list[int]] = {}
        for i, label in enumerate(self.names):
            for name in label.split(","):
                self._called.setdefault(_plain(name), []).append(i)

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, texts: Sequence[str], device: torch.device | None = None) -> Tensor:
        """Ids `(b, 1)`. Raises UnknownWordError with near labels for one that is not there, or that is not the only one."""
        return torch.tensor([self._id(text) for text in texts], dtype=torch.long, device=device)[:, None]

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [self.names[i] for i in ids]

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        """The one word of the text: the whole label."""
        return [Span(self.names[i] if text is None else " ".join(text.split()), k, k + 1) for k, i in enumerate(ids)]

    def _id(self, text: str) -> int:
        name = _plain(text)
        if name in self.ids:
            return self.ids[name]
        called = self._called.get(name, [])
        if len(called) == 1:
            return called[0]
        if called:
            raise UnknownWordError(f"{text!r} may be any of: {'; '.join(self.names[i] for i in called)}: say all of its names")
        near = difflib.get_close_matches(name, {**self.ids, **self._called}, n=5)
        hint = f"near: {', '.join(near)}" if near else f"some are: {', '.join(self.names[:5])}"
        raise UnknownWordError(f"{text!r} is none of the {len(self)} answers that the model can give; {hint}")


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
