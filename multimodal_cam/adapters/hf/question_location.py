"""Locate the user's question in a prompt: its own tokens, without those of the template and the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .detokenization import Range

QUESTION_MARK = "\ue000"  # stands for a question, to find where a template puts it; no text contains it


@dataclass(frozen=True)
class QuestionLocation:
    """The `ids` of a prompt's text, before the image's tokens are filled in; those from `start` to `stop` are the question's.

    `text` is the question, `ranges` the characters of it that each of these tokens stands for.
    """

    ids: tuple[int, ...]
    start: int
    stop: int
    text: str
    ranges: tuple[Range | None, ...]

    def slice_in_prompt(self, prompt: Sequence[int]) -> Range | None:
        """Start and stop of the question's tokens in the whole prompt; None where that is ambiguous."""
        whole, own = tuple(prompt), self.ids[self.start : self.stop]
        later = self.start + len(whole) - len(self.ids)
        if later >= 0 and whole[later:] == self.ids[self.start :]:  # the image's tokens stand before the question
            return later, later + len(own)
        if whole[: self.stop] == self.ids[: self.stop]:  # or behind it
            return self.start, self.stop
        places = [i for i in range(len(whole) - len(own) + 1) if whole[i : i + len(own)] == own]
        return (places[0], places[0] + len(own)) if len(places) == 1 else None


def locate(question: str, before: str, text: str, ids: Sequence[int], placed: Sequence[Range | None]) -> QuestionLocation | None:
    """The question in a prompt's `text`, whose tokens `ids` stand for the characters `placed`; None where it is not unique.

    `before` is what the template puts in front of questions; a text that contains the question once needs none.
    """
    question = question.strip()  # as templates do
    first = len(before) if text.startswith(before + question) else text.find(question)
    if first < 0 or (first != len(before) and first != text.rfind(question)):
        return None
    last = first + len(question)
    own = [i for i, token in enumerate(placed) if token and max(token[0], first) < min(token[1], last)]
    if not own:
        return None
    start, stop = own[0], own[-1] + 1
    ranges = [token and (max(token[0] - first, 0), min(token[1], last) - first) for token in placed[start:stop]]
    return QuestionLocation(tuple(ids), start, stop, question, tuple(ranges))


@dataclass(frozen=True)
class QuestionView:
    """The tokens from `start` to `stop` of a layer whose output `(b, n, d)` has those of the whole prompt and the text."""

    start: int
    stop: int

    def extract(self, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 3 or output.shape[1] < self.stop:
            found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"{found}, expected the embeddings (b, n, d) of {self.stop} tokens or more")
        return output[:, self.start : self.stop]

    def inject(self, activations: Tensor, output: Any) -> Tensor:
        return torch.cat([output[:, : self.start], activations, output[:, self.stop :]], dim=1)
