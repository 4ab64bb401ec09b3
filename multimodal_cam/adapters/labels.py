"""Labels that a model chooses from, answers or classes: its text is one token over them."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.spans import Span
from .contract import Unknown, UnknownWordError
from .inputs import Inputs
from .word_table import read_words


class Labels:
    """The labels as a tokenizer: `names[i]` has id `i`.

    A label may have several names, separated by commas (`tabby, tabby cat`); it is found by each of them that no other label
    has, and by all of them together, whatever the case; labels that differ in nothing but case as they are written.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._exact = _unique((label, i) for i, label in enumerate(self.names))
        self.ids = _unique((_normalised(label), i) for i, label in enumerate(self.names))
        self._ids_by_name: dict[str, list[int]] = {}
        for i, label in enumerate(self.names):
            for name in {_normalised(label), *map(_normalised, label.split(","))}:
                self._ids_by_name.setdefault(name, []).append(i)

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
        name = _normalised(text)
        if text in self._exact:
            return self._exact[text]
        if name in self.ids:
            return self.ids[name]
        found = self._ids_by_name.get(name, [])
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownWordError(f"{text!r} may be any of: {'; '.join(self.names[i] for i in found)}: say all of its names")
        near = difflib.get_close_matches(name, {**self.ids, **self._ids_by_name}, n=5)
        hint = f"near: {', '.join(near)}" if near else f"some are: {', '.join(self.names[:5])}"
        raise UnknownWordError(f"{text!r} is none of the {len(self)} answers that the model can give; {hint}")


def label_names(labels: Any, what: str, unnamed: str) -> tuple[str, ...]:
    """The labels in the order of the outputs, from a list or any vocabulary with ids (`{0: "cat"}`, `class_to_idx`).

    Ids that no label has are called after `unnamed`: `class 3`. Raises TypeError or ValueError for labels that cannot be read.
    """
    if hasattr(labels, "tolist"):
        labels = labels.tolist()
    if isinstance(labels, Sequence) and not isinstance(labels, (str, bytes)):
        return tuple(map(str, labels))
    table = read_words(labels, what)
    return tuple(table.words.get(i, f"{unnamed} {i}") for i in range(table.size))


class LabelChooser(ABC):
    """Text side of an adapter that chooses a label; the image side gives `name`, `labels`, `device` and `logits`."""

    default_score: str = "logit"  # before the softmax, as the paper does
    default_method: str = "grad_cam"
    n_alternatives: int = 5
    readout: nn.Module | None = None  # one position: nothing to cut
    name: str
    labels: Labels

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @abstractmethod
    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor: ...

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """Ids of the likeliest labels `(b, 1)`. Raises TypeError for any option."""
        if options:
            raise TypeError(f"{self.name} chooses a label, it does not decode: {', '.join(options)} has no meaning here")
        return self.logits(inputs, torch.zeros(len(inputs), 1, dtype=torch.long)).argmax(dim=-1)

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        return self.labels.encode(texts, self.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.labels.decode(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        return self.labels.spans(ids, text)


def _unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """`name -> id` of the names that only one label has."""
    ids: dict[str, list[int]] = {}
    for name, i in pairs:
        ids.setdefault(name, []).append(i)
    return {name: found[0] for name, found in ids.items() if len(found) == 1}


def _normalised(name: str) -> str:
    return " ".join(name.lower().split())
