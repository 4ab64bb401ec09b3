"""A batch of images, texts and questions on its way through model and engine, until each row is an Explanation."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor

from ._contrast import contrast_tokens, replacements
from ._explanation import Explanation
from .adapters.contract import (
    DoubtsWords,
    ReadsQuestions,
    TaskAdapter,
    TellsFamiliarity,
    Unknown,
    group_by_batch_key,
    layer_view_of,
    reads_raw,
)
from .adapters.inputs import PAD, Inputs
from .core.added_steps import STEPS, add_steps, unfinished
from .core.attribution import attribute
from .core.familiarity import Familiarity
from .core.forward_pass import AttributionRequest, rows_of_tap
from .core.geometry import Placement
from .core.hooks import LayerTap
from .core.images import load_image
from .core.layer_fusion import fuse_layers
from .core.layer_layout import has_regions
from .core.pixel_attribution import chunks_of_rows
from .core.spans import Span, join, noun_phrases, sentence
from .core.token_maps import TokenMaps
from .extras import MissingPackageError
from .results.records import PIXELS, Failure, PixelMaps

if TYPE_CHECKING:
    from PIL.Image import Image

    from .core.images import ImageSource

OnError = Literal["raise", "skip"]
Row = tuple["ImageSource", str | None, str | None]  # image, text, question


@dataclass(frozen=True)
class _ParsedText:
    """The words of a text; its noun phrases too, where each run of words needs a map of its own."""

    words: Sequence[Span]
    adds_up: bool  # maps of words add up to those of phrases
    phrases: tuple[Span, ...] | None = None  # None: not parsed

    @classmethod
    def of(cls, words: Sequence[Span], adds_up: bool) -> Self:
        return cls(words, adds_up, None if adds_up else _phrases(words))

    @property
    def mapped(self) -> list[Span]:
        """Runs of tokens with maps of their own: words, phrases, the whole text."""
        return [] if self.adds_up else [*self.words, *(self.phrases or ()), join(self.words)]


@dataclass(frozen=True)
class _AskedGroup:
    """Rows that were explained together: what it takes to explain one of them again."""

    images: list[Image]
    questions: list[str]  # one for each row, or none at all
    ids: Tensor  # (b, t)
    contrasts: Tensor | None  # (b, t)
    activations: Tensor | None  # (b, ...)


@dataclass(frozen=True)
class BatchExplainer:
    """What is the same for all batches of a call of `explain`."""

    model: TaskAdapter
    request: AttributionRequest
    instead_of: str | Mapping[str, str] | None
    unknown: Unknown
    generation: Mapping[str, Any]
    channel_names: Mapping[int, str] = field(default_factory=dict)

    def run(self, rows: Sequence[Row], on_error: OnError) -> list[Explanation | Failure]:
        """A batch; if it fails and failures are to be skipped, its rows one by one, to find the one at fault."""
        try:
            return [*self._explain(rows)]
        except Exception as error:
            if on_error == "raise":
                raise
            if len(rows) == 1:
                return [Failure(rows[0][0], error)]
        return [result for row in rows for result in self.run([row], on_error)]

    def _explain(self, rows: Sequence[Row]) -> list[Explanation]:
        model, found = self.model, dict[int, Explanation]()
        raw = reads_raw(model)
        loaded = {
            id(source): load_image(source, raw=raw) for source, _, _ in rows
        }  # an image that is asked several times loads once
        images = [loaded[id(source)] for source, _, _ in rows]
        groups = group_by_batch_key(model, [(images[i], question) for i, (_, _, question) in enumerate(rows)])
        for group in (chunk for whole in groups for chunk in chunks_of_rows(whole, self.request)):
            texts = [rows[i][1] for i in group]
            questions = [question for i in group if (question := rows[i][2]) is not None]
            inputs = model.preprocess([images[i] for i in group], questions or None)
            ids, activations = self._ids(inputs, texts)
            tokens = [[id for id in row if id != PAD] for row in ids.tolist()]
            words = [model.spans(row, text) for row, text in zip(tokens, texts, strict=True)]
            parsed = [_ParsedText.of(own, self.request.adds_up) for own in words]
            contrasts = None if self.instead_of is None else contrast_tokens(model, ids, words, self.instead_of)
            asked = _AskedGroup([images[i] for i in group], questions, ids, contrasts, activations)
            maps = self._token_maps(inputs, asked, [one.mapped for one in parsed])
            familiarity = self._familiarity(inputs, maps)
            doubts = self._doubts(inputs, maps) if texts[0] is None else None
            maps = self._fused(maps, inputs, asked)
            for row, i in enumerate(group):
                _, text, question = rows[i]
                explanation = self._explanation((images[i], text, question), parsed[row], inputs.placements[row], maps, row)
                explanation = replace(explanation, familiarity=familiarity[row])
                found[i] = explanation if doubts is None else replace(explanation, token_doubt=doubts[row, : len(tokens[row])])
        return [found[i] for i in range(len(rows))]

    def _token_maps(self, inputs: Inputs, asked: _AskedGroup, spans: Sequence[Sequence[Span]] = ()) -> TokenMaps:
        """Maps of the request's layer, with more steps of the path for the words that need them."""
        known = {"contrast_ids": asked.contrasts, "activations": asked.activations}
        maps = attribute(self.model, inputs, asked.ids, self.request, spans=spans, **known)
        if self.request.adds_steps and self.request.method.kind == "path":
            maps = add_steps(maps, partial(self._explain_row, asked))
        return maps

    def _fused(self, first: TokenMaps, inputs: Inputs, asked: _AskedGroup) -> TokenMaps:
        """The maps of all layers in one; those of the request's own layer are known."""
        request, parts = self.request, [first]
        for module, name in request.other_layers:
            other = replace(self, request=replace(request, layer=module, layer_name=name, other_layers=()))
            parts.append(other._token_maps(inputs, replace(asked, activations=None)))
        return first if len(parts) == 1 else fuse_layers(parts, request.layer_names, request.fuse)

    def _familiarity(self, inputs: Inputs, maps: TokenMaps) -> Sequence[Familiarity | None]:
        """Familiarity of each row's photo, None where the model does not tell; only another layer than its own costs a pass."""
        model, own, found = self.model, self.request.layer is self.model.layer and maps.pixels is None, None
        if isinstance(model, TellsFamiliarity):
            found = model.familiarity(inputs, maps.activations if own else None)
        return found or [None] * len(inputs)

    def _doubts(self, inputs: Inputs, maps: TokenMaps) -> Tensor | None:
        """Doubt `(b, t)` of what the model says itself; None where it does not tell. Another layer than its own costs a pass."""
        model, own = self.model, self.request.layer is self.model.layer and maps.pixels is None
        if not isinstance(model, DoubtsWords):
            return None
        with torch.no_grad():
            activations = maps.activations if own else None
            doubts = model.doubts(inputs, maps.ids[0], activations, maps.log_probs[0], maps.reliance)
        return None if doubts is None else _result(doubts)

    def _explain_row(self, asked: _AskedGroup, row: int, n_steps: int) -> TokenMaps:
        """Row `row` of a group once more, alone and in `n_steps`."""
        one = slice(row, row + 1)
        inputs = self.model.preprocess(asked.images[one], asked.questions[one] or None)
        return attribute(
            self.model,
            inputs,
            asked.ids[one],
            replace(self.request, n_steps=n_steps),
            contrast_ids=None if asked.contrasts is None else asked.contrasts[one],
            activations=None if asked.activations is None else asked.activations[one],
        )

    def _ids(self, inputs: Inputs, texts: Sequence[str | None]) -> tuple[Tensor, Tensor | None]:
        """The ids to explain; generating them also gives the activations, if the layer ran once."""
        given = [text for text in texts if text is not None]
        if given:
            return self.model.tokenize(given, self.unknown), None
        view = layer_view_of(self.model, inputs, self.request.layer)
        with torch.no_grad(), LayerTap(self.request.layer, self.request.layer_name, view=view) as tap:
            ids = self.model.generate(inputs, **self.generation)
        return ids, rows_of_tap(inputs, tap)

    def _explanation(
        self,
        asked: tuple[Image, str | None, str | None],
        parsed: _ParsedText,
        placement: Placement,
        found: TokenMaps,
        i: int,
    ) -> Explanation:
        """Row `i` of what was found, for the image, text and question that were `asked`."""
        (image, text, question), request, words = asked, self.request, parsed.words
        t = int((found.ids[0, i] != PAD).sum())
        replaced = replacements(words, self.instead_of) if self.instead_of else {}
        question_spans: tuple[Span, ...] = ()
        if question is not None and isinstance(self.model, ReadsQuestions):
            question_spans = tuple(self.model.question_spans(question))
        return Explanation(
            image=image,
            text=sentence(words) if text is None else text,
            tokens=tuple(self.model.tokens(found.ids[0, i, :t].tolist())),
            words=tuple(words),
            placement=placement if has_regions(found.view) else replace(placement, boxes=()),
            model=self.model.name,
            method=request.method.name,
            score=request.score.name,
            counterfactual=request.counterfactual,
            unit=request.score.unit,
            layer=" + ".join(request.layer_names) if request.method.uses_layer else PIXELS,
            token_scores=_result(found.scores[0, i, :t]),
            token_log_probs=_result(found.log_probs[0, i, :t]),
            token_reliance=_result(found.reliance[i, :t]),
            token_maps=_result(found.maps[0, :t, i]) if found.maps is not None else None,
            token_channels=None if found.channels is None else _result(found.channels[:t, i]),
            channel_names=self.channel_names,
            parsed_phrases=parsed.phrases,
            span_maps=self._span_maps(found, i, parsed.mapped),
            pixel_maps=None if found.pixels is None else _pixel_maps(found, i, parsed.mapped, t),
            token_changes=None if found.changes is None else _result(found.changes[i, :t]),
            token_unplaced=None if found.unplaced is None else _result(found.unplaced[i, :t]),
            question=question,
            question_spans=question_spans,
            token_question=None if found.question is None else _result(found.question[:t, i, : question_spans[-1].stop]),
            **(self._alternatives(found, i, t) if len(found.ids) > 1 else {}),
            instead_of={word.text: other for word, other in replaced.items()},
            provenance=_versions()
            | self.model.provenance
            | found.notes
            | {"n_steps": str(request.n_steps)}
            | ({"fuse": request.fuse} if request.other_layers else {})
            | {name: _written(value) for name, value in request.options.items() if value is not None}
            | _added_steps_note(found, i, words),
        )

    def _alternatives(self, found: TokenMaps, i: int, t: int) -> dict[str, Any]:
        """The other columns of a row: what else could have been said at each position, and its maps."""
        method, columns = self.request.method, range(1, len(found.ids))
        maps = torch.stack(
            [torch.stack([found.span_map(i, slice(j, j + 1), method, column) for column in columns]) for j in range(t)]
        )
        return {
            "alternatives": tuple(tuple(self.model.tokens(ids)) for ids in found.ids[1:, i, :t].T.tolist()),
            "alternative_log_probs": _result(found.log_probs[1:, i, :t].T),
            "alternative_scores": _result(found.scores[1:, i, :t].T),
            "alternative_maps": _result(maps),
        }

    def _span_maps(self, found: TokenMaps, i: int, spans: Sequence[Span]) -> dict[tuple[int, int], Tensor]:
        return {
            (span.start, span.stop): _result(found.span_map(i, slice(span.start, span.stop), self.request.method))
            * (1.0 if span.known else torch.nan)
            for span in spans
        }


def _pixel_maps(found: TokenMaps, i: int, mapped: Sequence[Span], t: int) -> PixelMaps:
    """Maps of the pixels of row `i`, of `t` tokens or of the spans that are `mapped`."""
    assert found.pixels is not None
    others = _result(found.pixels[1:, :t, i].transpose(0, 1)) if len(found.ids) > 1 else None
    if found.maps is not None:
        return PixelMaps(_result(found.pixels[0, :t, i]), alternatives=others)
    spans = {
        (span.start, span.stop): _result(found.span_of_pixels(i, slice(span.start, span.stop)))
        * (1.0 if span.known else torch.nan)
        for span in mapped
    }
    return PixelMaps(spans=spans, alternatives=others)


def _written(option: Any) -> str:
    """A method's option as it is written on the command line."""
    return "x".join(map(str, option)) if isinstance(option, tuple) else str(option)


def _added_steps_note(found: TokenMaps, i: int, words: Sequence[Span]) -> dict[str, str]:
    """Which words of row `i` needed more steps than the others, and which still do not add up."""
    if found.steps is None:
        return {}
    most = {word: int(found.steps[i, word.start : word.stop].max()) for word in words}
    added = [f"{word.text} {steps}" for word, steps in most.items() if steps > STEPS]
    missing = unfinished(found)[i]
    short = [word.text for word in words if bool(missing[word.start : word.stop].any())]
    notes = {"n_steps_added": ", ".join(added)} if added else {}
    return notes | ({"incomplete": ", ".join(short)} if short else {})


def _result(tensor: Tensor) -> Tensor:
    """For the user: float32 on the CPU, sharing nothing with the batch."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _phrases(words: Sequence[Span]) -> tuple[Span, ...] | None:
    """The noun phrases of a text; None without spaCy, where `phrases()` is what says so."""
    try:
        return tuple(noun_phrases(words)) if len(words) > 1 else ()
    except MissingPackageError:
        return None


@functools.cache
def _versions() -> dict[str, str]:
    return {
        "multimodal_cam": version("multimodal-cam"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
