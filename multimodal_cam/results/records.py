"""Records that explanations consist of: words and phrases with their maps, words of questions, failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..core.errors import message
from ..core.spans import Span

PIXELS = "pixels"  # stands for the layer of an explanation by a method that needs none
Scale = Literal["caption", "word"]
DOUBTFUL = 0.7  # from this doubt on a noun is called doubtful


@dataclass(frozen=True, repr=False)
class Failure:
    """Takes the place of an explanation that failed (`on_error="skip"`)."""

    image: Any
    error: Exception

    def __repr__(self) -> str:
        image = repr(self.image) if isinstance(self.image, (str, Path)) else type(self.image).__name__
        return f"Failure({image}, {type(self.error).__name__}: {message(self.error)})"


@dataclass(frozen=True, eq=False)
class PixelMaps:
    """Signed maps of the pixels that the network takes, by channel; an explanation's own maps are their sums over channels.

    `tokens` `(t, c, H, W)` are there for methods whose words add up, `spans`, `(c, H, W)` each, for the others; `alternatives`
    `(t, n, c, H, W)` for an answer.
    """

    tokens: Tensor | None = None
    spans: Mapping[tuple[int, int], Tensor] = field(default_factory=dict)
    alternatives: Tensor | None = None


@dataclass(frozen=True, eq=False, repr=False)
class SpanExplanation:
    """One word, phrase or whole text of an explanation.

    `map` is `(h, w)` float32, signed, raw, in the unit of the explained score; `score` that score and `log_prob` the
    log-probability in nats, both summed over the tokens; `reliance` how many nats the photo added; `completeness` the gap
    between the map's sum (plus `unplaced`) and the change of the score, None for methods that promise none. Tokens that the
    model does not know are left out of the sums, and `known` is False. `pixels` is `(c, H, W)`, of which `map` is the sum over
    channels, for methods of pixels; else None. `doubt` is the probability, in 0..1, that no person would name what the noun
    names, were such nouns as common as the others; None for other words and where the model does not tell.
    """

    span: Span
    map: Tensor
    score: float
    log_prob: float
    reliance: float
    completeness: float | None
    unplaced: float
    pixels: Tensor | None = None
    doubt: float | None = None

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.map.shape))
        return f"SpanExplanation({self.text!r}, score={self.score:.3g}, reliance={self.reliance:+.3g}, map {size})"

    @property
    def text(self) -> str:
        return self.span.text

    @property
    def known(self) -> bool:
        return self.span.known

    @property
    def is_doubtful(self) -> bool:
        """Whether the word is a noun that people who describe such a photo seldom name."""
        return self.doubt is not None and self.doubt >= DOUBTFUL

    @property
    def is_empty(self) -> bool:
        """Whether no cell is positive: drawn, such a map is blank."""
        return not bool((self.map > 0).any())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.map.numpy().astype(dtype or "float32", copy=bool(copy))


@dataclass(frozen=True)
class QuestionWord:
    """A word of the question and its `share`: what it adds to the explained score. `known=False`: the model reads `<unk>`."""

    text: str
    share: float
    known: bool = True
