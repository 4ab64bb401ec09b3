"""`instead_of=`: which tokens of a text are contrasted with which others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .adapters.contract import ReplacesWords, TaskAdapter
from .adapters.inputs import PAD
from .core.spans import Span, find, sentence


def check_instead_of(instead_of: object) -> None:
    """Raise TypeError for what is neither a word nor a table of words."""
    words = instead_of.values() if isinstance(instead_of, Mapping) else [instead_of]
    if instead_of is not None and not all(isinstance(word, str) for word in words):
        raise TypeError(f"instead_of: expected a word, or {{WORD: OTHER}} with words, got {instead_of!r}")


def contrast_tokens(
    model: TaskAdapter, ids: Tensor, words: Sequence[Sequence[Span]], instead_of: str | Mapping[str, str]
) -> Tensor:
    """The tokens `(b, t)` that `ids` are contrasted with; `PAD` for the likeliest other one.

    Raises ValueError if the model reads a word and its replacement alike.
    """
    contrasts = torch.full_like(ids, PAD)
    for row, own, spans in zip(contrasts, ids, words, strict=True):
        for word, other in replacements(spans, instead_of).items():
            replaced = _replace(model, own, spans, word, other)
            run = range(word.start, min(word.stop, len(replaced)))
            first = next((i for i in run if replaced[i] != own[i]), None)
            if first is None:
                raise ValueError(f"instead_of: {model.name} reads {other!r} as it reads {word.text!r}: choose another word")
            row[word.start : word.stop] = own[word.start : word.stop]  # no difference but at the first token that differs
            row[first] = replaced[first]
    return contrasts


def replacements(words: Sequence[Span], instead_of: str | Mapping[str, str] | None) -> dict[Span, str]:
    """Which words are contrasted with which others. Raises ValueError for one replacement of a text of several words."""
    if instead_of is None:
        return {}
    if isinstance(instead_of, str):
        if len(words) != 1:
            raise ValueError(
                f"instead_of: {sentence(words)!r} has {len(words)} words, say which: instead_of={{WORD: {instead_of!r}}}"
            )
        return {words[0]: instead_of}
    return {find(words, word): other for word, other in instead_of.items()}


def _replace(model: TaskAdapter, ids: Tensor, spans: Sequence[Span], word: Span, other: str) -> Tensor:
    """The ids of the text that says `other` in the place of `word`."""
    if isinstance(model, ReplacesWords):
        return torch.tensor(model.replace_word([i for i in ids.tolist() if i != PAD], word, other), device=ids.device)
    before = [span.text for span in spans if span.stop <= word.start]
    return model.tokenize([" ".join([*before, other, *(span.text for span in spans if span.start >= word.stop)])])[0]
