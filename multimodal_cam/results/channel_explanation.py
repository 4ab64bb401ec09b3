"""Channels of the tapped layer that speak for or against a word: what each adds to its score, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.spans import Span
from .explanation_data import ExplanationData

FOR, AGAINST = 2, 1  # channels that a text explanation names


@dataclass(frozen=True, eq=False, repr=False)
class ChannelExplanation:
    """What one channel adds to the score of a word.

    Attributes:
        channel: Its number.
        map: `(h, w)` float32, signed, in the unit of the explained score; those of all channels add up to the word's map.
        score: The map's sum: positive where the channel speaks for the word.
        share: The score over the sum of all channels' absolute scores: signed, the magnitudes of all add up to 1.
        name: What the channel responds to, if it passes as a detector of something (`multimodal-cam neurons label`).
    """

    channel: int
    map: Tensor
    score: float
    share: float
    name: str | None = None

    def __repr__(self) -> str:
        return f"ChannelExplanation({self.label}, score={self.score:+.3g}, share={self.share:+.1%})"

    @property
    def label(self) -> str:
        """`311 (dog)`, or the number alone."""
        return str(self.channel) if self.name is None else f"{self.channel} ({self.name})"


def channels_of(explanation: ExplanationData, span: Span, top: int | None) -> list[ChannelExplanation]:
    """The `top` channels that speak for a run of tokens, strongest first, then the `top` that speak against it; all for None.

    Empty for words that the model does not know. Raises ValueError if the explanation was made without channels, or `top` < 1.
    """
    if explanation.token_channels is None:
        raise ValueError("this explanation was made without channels: explain(model, photo, channels=True) keeps their maps")
    if top is not None and top < 1:
        raise ValueError(f"top: expected 1 or more channels, or None for all of them, got {top}")
    maps = explanation.known_sum(explanation.token_channels, span)
    if bool(maps.isnan().any()):
        return []
    scores = maps.sum(dim=(1, 2), dtype=torch.float64)
    total = float(scores.abs().sum()) or 1.0
    order = scores.argsort(descending=True, stable=True).tolist()
    if top is not None:
        order = [i for i in order[:top] if scores[i] > 0] + [i for i in order[::-1][:top] if scores[i] < 0]
    names = explanation.channel_names
    return [ChannelExplanation(i, maps[i], float(scores[i]), float(scores[i]) / total, names.get(i)) for i in order]


def explanation_text(explanation: ExplanationData, span: Span) -> str:
    """`dog: because of channel 311 (dog) and 87 (grass); against it: 902 (water)`, the strongest of each side."""
    found = channels_of(explanation, span, max(FOR, AGAINST))
    if not found:
        reason = "no channel speaks for or against it" if span.known else "the model does not know this word"
        return f"{span.text}: {reason}"
    cause = [one.label for one in found if one.score > 0][:FOR]
    rivals = [one.label for one in found if one.score < 0][:AGAINST]
    because = f"because of channel {_listed(cause)}" if cause else "no channel speaks for it"
    return f"{span.text}: {because}" + (f"; against it: {_listed(rivals)}" if rivals else "")


def _listed(labels: Sequence[str]) -> str:
    return " and ".join(labels)
