"""Data of an explanation: maps and numbers of tokens, their sums over words and phrases, and look-up of words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.familiarity import Familiarity
from ..core.geometry import Placement
from ..core.spans import Span, WordError, find, join, noun_phrases
from .heat_scale import full_heat, positive_on_photo
from .records import PixelMaps, QuestionWord, Scale, SpanExplanation

if TYPE_CHECKING:
    from PIL.Image import Image

ANSWERS = 5  # number of answers that are listed


@dataclass(frozen=True, eq=False, repr=False)
class ExplanationData:
    """A text about `image`, one relevance map per word, and how they were made.

    `tokens` are the model's, `words` the runs of tokens that a person reads. `token_maps` `(t, h, w)` are raw and signed; a
    method that is not linear in the gradients has none, its maps of words, phrases and the whole text are in `span_maps`.
    Where a network reads regions, `(h, w)` is `(r, 1)`: a value for each of `boxes`. Methods of pixels have maps of
    the pixels that the network takes, `(H, W)`, with `pixel_maps` by channel.
    All other `token_*` are `(t,)`. `token_changes` is the change of the explained score from no photo to the photo, for
    `evidence` only. `token_doubt`, where a captioner doubts its own words, is NaN for all but nouns.

    A question has words, too: `question_spans`, and `token_question` `(t, q)`, what each of its tokens adds to each token's
    score. `alternatives` are, for each token, the likeliest others in its place, with `alternative_log_probs` and
    `alternative_scores` `(t, n)` and `alternative_maps` `(t, n, h, w)`: for an answer, the other answers.
    `instead_of` says which word was compared with which other one (`score="contrast"`).

    `counterfactual`: the sign of `score` is reversed, so that what is positive speaks against the text (Selvaraju et al., IJCV
    2020, sec. 3.3). `token_channels` `(t, c, h, w)` are the tokens' maps by channel of the layer, kept on request, and
    `channel_names` what some channels are called. `parsed_phrases` are the noun phrases where they are known already; else
    `phrase_spans` finds them. `familiarity` says whether the model was trained on photos like this one; None for a model that
    cannot tell.
    """

    image: Image
    text: str
    tokens: tuple[str, ...]
    words: tuple[Span, ...]
    placement: Placement
    model: str
    method: str
    score: str
    unit: str
    layer: str
    token_scores: Tensor
    token_log_probs: Tensor
    token_reliance: Tensor
    token_maps: Tensor | None = None
    span_maps: Mapping[tuple[int, int], Tensor] = field(default_factory=dict)
    token_changes: Tensor | None = None
    token_unplaced: Tensor | None = None
    token_doubt: Tensor | None = None
    question: str | None = None
    question_spans: tuple[Span, ...] = ()
    token_question: Tensor | None = None
    alternatives: tuple[tuple[str, ...], ...] = ()
    alternative_log_probs: Tensor | None = None
    alternative_scores: Tensor | None = None
    alternative_maps: Tensor | None = None
    instead_of: Mapping[str, str] = field(default_factory=dict)
    counterfactual: bool = False
    parsed_phrases: tuple[Span, ...] | None = None
    pixel_maps: PixelMaps | None = None
    token_channels: Tensor | None = None
    channel_names: Mapping[int, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    familiarity: Familiarity | None = None

    def __post_init__(self) -> None:
        t = len(self.tokens)
        for name in ("token_scores", "token_log_probs", "token_reliance", "token_changes", "token_unplaced", "token_doubt"):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != (t,):
                raise ValueError(f"{name}: expected shape ({t},), one number a token, got {tuple(value.shape)}")
        if self.token_maps is not None and (self.token_maps.ndim != 3 or len(self.token_maps) != t):
            raise ValueError(f"token_maps: expected ({t}, h, w), got {tuple(self.token_maps.shape)}")
        if self.token_maps is None and any((w.start, w.stop) not in self.span_maps for w in self.words):
            raise ValueError("an explanation needs token_maps or a map in span_maps for every word")
        if any(word.stop > t for word in self.words):
            raise ValueError(f"a word reaches beyond the {t} tokens: {self.words}")
        regions = (len(self.placement.boxes), 1)
        for map in (self.token_maps, self.alternative_maps, *self.span_maps.values()) if self.placement.boxes else ():
            if map is not None and tuple(map.shape[-2:]) != regions:
                raise ValueError(f"maps: expected {regions}, a value for each box, got {tuple(map.shape[-2:])}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, method={self.method!r}, score={self.score_label!r}, model={self.model!r})"

    @property
    def score_label(self) -> str:
        """Name of the score with its sign, as headings show it: `-logit` of a counterfactual explanation."""
        return f"-{self.score}" if self.counterfactual else self.score

    # ---- words, phrases, whole text ------------------------------------------------------------------------------------

    @property
    def maps(self) -> Tensor:
        """One map per word: `(k, h, w)` float32, signed, raw; NaN for a word that the model does not know."""
        return torch.stack([self.map(word) for word in self.words])

    @property
    def scores(self) -> Tensor:
        """The explained score of each word `(k,)`, in `unit`."""
        return self._per_word(self.token_scores)

    @property
    def log_probs(self) -> Tensor:
        """The log-probability of each word `(k,)`, in nats."""
        return self._per_word(self.token_log_probs)

    @property
    def reliance(self) -> Tensor:
        """`log p(word | photo) - log p(word | no photo)`, same prefix, `(k,)` in nats."""
        return self._per_word(self.token_reliance)

    @property
    def unplaced(self) -> Tensor:
        """Share of each word's score that belongs to tokens without a place on the grid `(k,)`; 0 for a CNN."""
        return self._per_word(torch.zeros(len(self.tokens)) if self.token_unplaced is None else self.token_unplaced)

    @property
    def completeness(self) -> Tensor | None:
        """`map.sum() + unplaced - change of the score` of each word `(k,)`; None unless the method is `evidence`."""
        if self.token_changes is None:
            return None
        return self.maps.sum(dim=(1, 2)) + self.unplaced - self._per_word(self.token_changes)

    def __getitem__(self, word: str | int) -> SpanExplanation:
        """A word by its text or index, or a run of words by its text (`e["brown dog"]`)."""
        return self.part(self.find(word))

    def __len__(self) -> int:
        """The number of words."""
        return len(self.words)

    def __iter__(self) -> Iterator[SpanExplanation]:
        """The words with their maps, in order."""
        return map(self.part, self.words)

    def find(self, word: str | int) -> Span:
        """The span of `word`; raises WordError that lists the indices when it occurs more than once."""
        if isinstance(word, int):
            try:
                return self.words[word]
            except IndexError:
                raise WordError(f"there is no word {word}: the text has {len(self.words)} words") from None
        return find(self.words, word)

    def part(self, span: Span) -> SpanExplanation:
        """Map, score, reliance and completeness of a run of tokens."""
        map = self.map(span)
        unplaced = self._sum(self.token_unplaced, span) if self.token_unplaced is not None else 0.0
        gap = None
        if self.token_changes is not None:
            gap = float(map.sum()) + unplaced - self._sum(self.token_changes, span)
        return SpanExplanation(
            span,
            map,
            score=self._sum(self.token_scores, span),
            log_prob=self._sum(self.token_log_probs, span),
            reliance=self._sum(self.token_reliance, span),
            completeness=gap,
            unplaced=unplaced,
            pixels=self._pixels(span),
            doubt=self._doubt(span),
        )

    def _pixels(self, span: Span) -> Tensor | None:
        if self.pixel_maps is None:
            return None
        tokens = self.pixel_maps.tokens
        return self.pixel_maps.spans[span.start, span.stop] if tokens is None else self.known_sum(tokens, span)

    def _doubt(self, span: Span) -> float | None:
        """Doubt of a word; None for longer runs, other words than nouns, and models that do not tell."""
        if self.token_doubt is None or span not in self.words:
            return None
        found = self.token_doubt[span.start : span.stop]
        return float(found.max()) if bool(found.isfinite().all()) else None

    def phrases(self) -> list[SpanExplanation]:
        """The noun phrases of the text (spaCy), in order."""
        return [self.part(span) for span in self.phrase_spans]

    def whole(self) -> SpanExplanation:
        """The whole text: all its words, end token excluded."""
        return self.part(join(self.words, self.text))

    @cached_property
    def phrase_spans(self) -> tuple[Span, ...]:
        """The noun phrases of the text; parsed by spaCy when they are first asked for."""
        return tuple(noun_phrases(self.words)) if self.parsed_phrases is None else self.parsed_phrases

    @property
    def phrases_so_far(self) -> tuple[Span, ...] | None:
        """`phrase_spans` if known without parsing the text now, else None."""
        return vars(self).get("phrase_spans", self.parsed_phrases)

    def map(self, span: Span) -> Tensor:
        """The map `(h, w)` of a run of tokens. Raises WordError when the method is not linear and has none for this run."""
        if self.token_maps is not None:
            return self.known_sum(self.token_maps, span)
        try:
            return self.span_maps[span.start, span.stop]
        except KeyError:
            raise WordError(
                f"{self.method} is not linear: it has maps of words, noun phrases and the whole text, not of {span.text!r}"
            ) from None

    def known_sum(self, values: Tensor, span: Span) -> Tensor:
        """The sum `(...)` of values `(t, ...)` over those tokens of a run that the model knows; NaN where it knows none."""
        unknown = {i for word in self.words if not word.known for i in range(word.start, word.stop)}
        summed = [i for i in range(span.start, span.stop) if i not in unknown]
        return values[summed].sum(dim=0) if summed else torch.full_like(values[0], torch.nan)

    def _sum(self, values: Tensor, span: Span) -> float:
        return float(self.known_sum(values, span))

    def _per_word(self, values: Tensor) -> Tensor:
        return torch.stack([self.known_sum(values, word) for word in self.words])

    # ---- a question and its answers ------------------------------------------------------------------------------------

    @property
    def answers(self) -> tuple[tuple[str, float], ...]:
        """The likeliest answers `(text, probability)`, best first; none for a text of several tokens."""
        return tuple((self._answer_texts[i], p) for i, p in self._ranked_answers)

    @property
    def answer_maps(self) -> dict[str, Tensor]:
        """The map `(h, w)` of each of `answers`: signed, raw, in the unit of the explained score."""
        if self.alternative_maps is None:
            return {}
        maps = [self.map(self.words[0]), *self.alternative_maps[0]]
        return {self._answer_texts[i]: maps[i] for i, _ in self._ranked_answers}

    @property
    def answer_parts(self) -> tuple[SpanExplanation, ...]:
        """Map and score of each of `answers` and, last, of the explained one if it is not among them.

        `reliance` and `unplaced` are computed for the explained answer only, and NaN for the others.
        """
        if self.alternative_maps is None or self.alternative_scores is None:
            return ()
        ranked = [i for i, _ in self._ranked_answers]
        if ranked and 0 not in ranked:
            ranked.append(0)
        return tuple(self._answer(i) for i in ranked)

    def _answer(self, index: int) -> SpanExplanation:
        """The explained answer, index 0, or one of its alternatives."""
        if index == 0:
            return self.part(self.words[0])
        maps, scores, log_probs = self.alternative_maps, self.alternative_scores, self.alternative_log_probs
        pixels = None if self.pixel_maps is None else self.pixel_maps.alternatives
        assert maps is not None and scores is not None and log_probs is not None  # noqa: PT018
        return SpanExplanation(
            span=Span(self._answer_texts[index], 0, 1),
            map=maps[0, index - 1],
            score=float(scores[0, index - 1]),
            log_prob=float(log_probs[0, index - 1]),
            reliance=math.nan,
            completeness=None,
            unplaced=math.nan,
            pixels=None if pixels is None else pixels[0, index - 1],
        )

    @property
    def question_words(self) -> tuple[QuestionWord, ...]:
        """The words of the question, each with what it adds to the score of the whole text: signed, in `unit`."""
        if self.token_question is None:
            return ()
        shares = self.known_sum(self.token_question, join(self.words))
        return tuple(
            QuestionWord(word.text, float(shares[word.start : word.stop].sum()), word.known) for word in self.question_spans
        )

    @property
    def _answer_texts(self) -> list[str]:
        return [self.tokens[0], *self.alternatives[0]]

    @property
    def _ranked_answers(self) -> list[tuple[int, float]]:
        """Pairs of index and probability of the likeliest answers; index 0 is the explained one, the others its alternatives."""
        if len(self.tokens) != 1 or self.alternative_log_probs is None:
            return []
        probabilities = torch.cat([self.token_log_probs, self.alternative_log_probs[0]]).exp().tolist()
        return sorted(enumerate(probabilities), key=lambda pair: -pair[1])[:ANSWERS]

    # ---- on the photo ------------------------------------------------------------------------------------------------------

    @property
    def region_boxes(self) -> Tensor | None:
        """Boxes of the regions `(r, 4)`, x0, y0, x1, y1 in pixels of the photo; None where maps are grids."""
        width, height = self.placement.width, self.placement.height
        sides = torch.tensor([width, height, width, height], dtype=torch.float64)
        return torch.tensor(self.placement.boxes, dtype=torch.float64) * sides if self.placement.boxes else None

    def heatmap(self, word: str | int | Span, scale: Scale = "caption") -> Tensor:
        """Positive relevance of `word` on the original photo: `(H, W)` float32 in [0, 1].

        Negative relevance is cut off (the paper's ReLU). `scale="caption"` divides by the maximum of the strongest word, so that
        words can be compared; `scale="word"` by the word's own. A word with nothing positive is 0 everywhere.
        Regions are filled boxes, the strongest on top. Of a map of pixels the few largest values, 10 % of its sum, are cut to 1.
        """
        if scale not in ("caption", "word"):
            raise ValueError(f"unknown scale {scale!r}; choose from caption, word")
        span = word if isinstance(word, Span) else self.find(word)
        drawn = self._drawn(self.map(span))
        top = full_heat(drawn, of_pixels=self.pixel_maps is not None)
        if scale == "caption":
            top = self._strongest_word()
        return (drawn / top).clamp(0, 1) if top > 0 else torch.zeros_like(drawn)

    def _strongest_word(self) -> float:
        """Value of the strongest colour of all words."""
        maps = self.maps.nan_to_num(0)
        if self.pixel_maps is not None:
            return max(full_heat(self._drawn(map), of_pixels=True) for map in maps)
        return full_heat(self._drawn(maps[maps.amax(dim=(1, 2)).argmax()]), of_pixels=False)

    def _drawn(self, map: Tensor) -> Tensor:
        return positive_on_photo(map[None], self.placement, of_pixels=self.pixel_maps is not None)[0]
