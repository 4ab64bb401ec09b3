"""explain(): the short path from image and text to Explanation.

Not called `explain.py`: a submodule of that name would hide the function `multimodal_cam.explain`.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeGuard, Unpack, overload

import torch
from torch import Tensor, nn

from ._contrast import contrast_tokens, replacements
from ._explanation import Explanation
from .adapters.contract import HasAttention, TaskAdapter, Unknown, batch_key_of, layer_view_of, question_spans_of
from .adapters.inputs import PAD, Inputs
from .adapters.layer_choice import resolve_layer
from .core.attribution import TokenMaps, attribute
from .core.cut_model import rows_of_tap
from .core.forward_pass import AttributionRequest
from .core.hooks import LayerTap, unchanged_state
from .core.images import load_image
from .core.spans import Span, join, noun_phrases, sentence
from .methods.spec import METHODS, CamMethod, find_method
from .results.records import Failure
from .scores import ScoreFn, find_score, score_name

if TYPE_CHECKING:
    from PIL.Image import Image

    from .core.images import ImageSource

OnError = Literal["raise", "skip"]


class GenerationOptions(TypedDict, total=False):
    """Options of the model's decoder. Hugging Face models take all that their `generate` takes, these among them."""

    beam: int
    length_penalty: float
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    num_beams: int
    max_new_tokens: int
    min_new_tokens: int
    max_length: int


class ExplainOptions(GenerationOptions, total=False):
    """The options of `explain` beside `text` and `question`, for type checkers and editors."""

    instead_of: str | Mapping[str, str] | None
    counterfactual: bool
    method: str | CamMethod | None
    score: str | ScoreFn | None
    layer: str | nn.Module | None
    n_steps: int
    unknown: Unknown
    batch_size: int
    progress: bool
    on_error: OnError


@overload
def explain(
    model: TaskAdapter,
    images: list[Any] | tuple[Any, ...],
    *,
    text: str | Sequence[str] | None = None,
    question: str | Sequence[str] | None = None,
    **options: Unpack[ExplainOptions],
) -> list[Explanation]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: str | Sequence[str] | None = None,
    question: list[str] | tuple[str, ...],
    **options: Unpack[ExplainOptions],
) -> list[Explanation]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: list[str] | tuple[str, ...],
    question: str | None = None,
    **options: Unpack[ExplainOptions],
) -> list[Explanation]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: str | None = None,
    question: str | None = None,
    **options: Unpack[ExplainOptions],
) -> Explanation: ...
def explain(
    model: TaskAdapter,
    images: ImageSource | Sequence[ImageSource],
    *,
    text: str | Sequence[str] | None = None,
    question: str | Sequence[str] | None = None,
    instead_of: str | Mapping[str, str] | None = None,
    counterfactual: bool = False,
    method: str | CamMethod | None = None,
    score: str | ScoreFn | None = None,
    layer: str | nn.Module | None = None,
    n_steps: int = 16,
    unknown: Unknown = "error",
    batch_size: int = 32,
    progress: bool = False,
    on_error: OnError = "raise",
    **generation: Any,
) -> Any:
    """Where `model` looked for each word that it says about an image, for each word of `text`, or for its answer to `question`.

    Args:
        model: What `load`, `captioner`, `vqa` or `classifier` gave.
        images: One image (path, PIL image, or uint8 array `(H, W, 3)`) or a list of them.
        text: What is explained instead of the model's own words: a caption, an answer, a class. One for all images, or a list.
        question: One for all images, or a list; the backbone runs once for an image, however many questions it has.
        instead_of: `"ball"` explains by how much the answer beats another one (the difference of the two logits, in nats);
            `{"dog": "cat"}` does so for a word of a caption, at its place; other words are contrasted with their likeliest rival.
        counterfactual: Reverses the score's sign: what speaks against the words (Selvaraju et al., IJCV 2020, sec. 3.3).
        method: A name of `METHODS` (`attention` for models that have it) or a function
            `(activations (m, c, h, w), gradients (m, c, h, w)) -> (m, h, w)`; the model's default for None.
        score: A name of `SCORES` or a function `(logits (b, t, v), ids (b, t)) -> (b, t)` whose value at a position depends on
            the logits there only; the model's default for None.
        layer: A module of the model or its dotted name; the backbone's last spatial layer for None.
        n_steps: Steps of the path of `evidence`.
        unknown: `"unk"` feeds words outside the vocabulary as `<unk>` and gives them NaN maps; `"error"` refuses them.
        batch_size: Rows that run together.
        progress: Shows a progress bar on stderr.
        on_error: With `"skip"`, a photo that fails leaves a `Failure` in its place.
        generation: Options of the model's decoder (`beam=3`, `do_sample=True`). The random state is put back afterwards, so a
            sampled text differs only after another `torch.manual_seed`.

    Returns:
        An `Explanation` for one image, a list for a list of images, questions or texts.

    Raises:
        TypeError, ValueError: Bad input, or a layer that the text does not depend on.
        FileNotFoundError: A photo that is not there.
    """
    single = not isinstance(images, (list, tuple))
    sources: Sequence[ImageSource] = [images] if single else images  # type: ignore[assignment, list-item]
    if single and (several := next((x for x in (question, text) if _is_list(x)), None)) is not None:
        single, sources = False, [*sources] * len(several)
    texts, questions = _one_each("text", text, len(sources)), _one_each("question", question, len(sources))
    if instead_of is not None and score not in (None, "contrast"):
        given = score if isinstance(score, str) else score_name(score)
        raise ValueError(f"instead_of explains a difference of logits, score='contrast': leave score={given!r} out")
    if instead_of is not None:
        score = "contrast"
    _check_options(n_steps, batch_size, unknown, on_error)
    request = _resolve_request(model, method, score, layer, n_steps, counterfactual)
    call = _ExplainCall(model, request, instead_of, unknown, generation)
    results: list[Explanation | Failure] = []
    with unchanged_state(model.module), _reporter(progress, len(sources)) as report:
        for start in range(0, len(sources), batch_size):
            part = slice(start, start + batch_size)
            results += call.run(list(zip(sources[part], texts[part], questions[part], strict=True)), on_error)
            report(len(results))
    return results[0] if single else results


Row = tuple["ImageSource", str | None, str | None]  # image, text, question
LoadedRow = tuple["Image", str | None, str | None]


@dataclass(frozen=True)
class _ExplainCall:
    """What is the same for all batches of a call."""

    model: TaskAdapter
    request: AttributionRequest
    instead_of: str | Mapping[str, str] | None
    unknown: Unknown
    generation: dict[str, Any]

    def run(self, rows: Sequence[Row], on_error: OnError) -> list[Explanation | Failure]:
        """A batch; if it fails and failures are to be skipped, its rows one by one, to find the one at fault."""
        try:
            return list(self.explain(rows))
        except Exception as error:
            if on_error == "raise":
                raise
            if len(rows) == 1:
                return [Failure(rows[0][0], error)]
        return [result for row in rows for result in self.run([row], on_error)]

    def explain(self, rows: Sequence[Row]) -> Iterator[Explanation]:
        loaded = {id(source): load_image(source) for source, _, _ in rows}  # an image that is asked several times loads once
        loaded_rows = [(loaded[id(source)], text, question) for source, text, question in rows]
        found: dict[int, Explanation] = {}
        for group in group_by_batch_key(self.model, [(image, question) for image, _, question in loaded_rows]):
            found |= zip(group, self._explain_together([loaded_rows[i] for i in group]), strict=True)
        return (found[i] for i in range(len(rows)))

    def _explain_together(self, rows: Sequence[LoadedRow]) -> Iterator[Explanation]:
        images = [image for image, _, _ in rows]
        texts, questions = [text for _, text, _ in rows], [question for _, _, question in rows if question is not None]
        inputs = self.model.preprocess(images, questions or None)
        ids, activations = self._ids(inputs, texts)
        words = [self.model.spans(real_ids(row), text) for row, text in zip(ids, texts, strict=True)]
        contrasts = None if self.instead_of is None else contrast_tokens(self.model, ids, words, self.instead_of)
        found = attribute(self.model, inputs, ids, self.request, contrast_ids=contrasts, activations=activations)
        for i, (_, text, question) in enumerate(rows):
            yield self._explanation(images[i], text, question, words[i], inputs, found, i)

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
        image: Image,
        text: str | None,
        question: str | None,
        words: Sequence[Span],
        inputs: Inputs,
        found: TokenMaps,
        i: int,
    ) -> Explanation:
        tokens = real_ids(found.ids[0, i])
        t = len(tokens)
        request = self.request
        linear = found.maps is not None
        phrases = () if linear or len(words) == 1 else tuple(noun_phrases(words))
        asked = question_spans_of(self.model, question)
        return Explanation(
            image=image,
            text=sentence(words) if text is None else text,
            tokens=tuple(self.model.tokens(tokens)),
            words=tuple(words),
            placement=inputs.placements[i],
            model=self.model.name,
            method=request.method.name,
            score=request.score.name,
            counterfactual=request.counterfactual,
            unit=request.score.unit,
            layer=request.layer_name,
            token_scores=_result(found.scores[0, i, :t]),
            token_log_probs=_result(found.log_probs[0, i, :t]),
            token_reliance=_result(found.reliance[i, :t]),
            token_maps=_result(found.maps[0, :t, i]) if found.maps is not None else None,
            parsed_phrases=None if linear else phrases,
            span_maps={} if linear else self._span_maps(found, i, [*words, *phrases, join(words)]),
            token_changes=None if found.changes is None else _result(found.changes[i, :t]),
            token_unplaced=None if found.unplaced is None else _result(found.unplaced[i, :t]),
            question=question,
            question_spans=asked,
            token_question=None if found.question is None else _result(found.question[:t, i, : asked[-1].stop]),
            **self._alternatives(found, i, t),
            instead_of={word.text: other for word, other in replacements(words, self.instead_of).items()}
            if self.instead_of
            else {},
            provenance=_versions() | self.model.provenance | found.notes | {"n_steps": str(request.n_steps)},
        )

    def _alternatives(self, found: TokenMaps, i: int, t: int) -> dict[str, Any]:
        """The other columns of a row: what else could have been said at each position, and its maps."""
        others = found.ids[1:, i, :t]
        if not len(others):
            return {}
        method, columns = self.request.method, range(1, len(found.ids))
        maps = torch.stack(
            [torch.stack([found.span_map(i, slice(j, j + 1), method, column) for column in columns]) for j in range(t)]
        )
        return {
            "alternatives": tuple(tuple(self.model.tokens(ids)) for ids in others.T.tolist()),
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


def group_by_batch_key(model: TaskAdapter, rows: Sequence[tuple[Image, str | None]]) -> list[list[int]]:
    """The indices of rows (image, question) that may run together: the model may want grids, or prompts, of one size."""
    groups: dict[Hashable, list[int]] = {}
    for i, (image, question) in enumerate(rows):
        groups.setdefault(batch_key_of(model, image, question), []).append(i)
    return list(groups.values())


def real_ids(ids: Tensor) -> list[int]:
    """One row's ids without its padding."""
    return [i for i in ids.tolist() if i != PAD]


def _result(tensor: Tensor) -> Tensor:
    """For the user: float32 on the CPU, sharing nothing with the batch."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _resolve_request(
    model: TaskAdapter,
    method: str | CamMethod | None,
    score: str | ScoreFn | None,
    layer: str | nn.Module | None,
    n_steps: int,
    counterfactual: bool,
) -> AttributionRequest:
    """Names to table entries and modules; None to the model's defaults. Raises ValueError for what there is not."""
    spec = find_method(model.default_method if method is None else method)
    if spec.kind == "attention" and not isinstance(model, HasAttention):
        choices = ", ".join(name for name, other in METHODS.items() if other.kind != "attention")
        raise ValueError(f"{model.name} has no attention to show; choose from {choices}")
    scored = find_score(score_name(model.default_score) if score is None else score)
    module, name = resolve_layer(model, layer)
    if spec.kind == "attention" and module is not model.layer:
        raise ValueError(f"attention is over the grid of {resolve_layer(model, None)[1]!r}: leave layer={name!r} out")
    return AttributionRequest(module, name, spec, scored, n_steps, counterfactual, model.n_alternatives)


def _is_list(given: object) -> TypeGuard[Sequence[str]]:
    return isinstance(given, Sequence) and not isinstance(given, str)


def _one_each(what: str, given: str | Sequence[str] | None, count: int) -> list[str | None]:
    """The texts, or the questions: one for each image."""
    each: list[str | None] = list(given) if _is_list(given) else [given] * count  # type: ignore[list-item]
    if len(each) != count:
        raise ValueError(f"{what}: expected one for each of the {count} images, got {len(each)}")
    if None in each and any(each):
        raise ValueError(
            f"{what}: expected one for every image or for none; explain images without a {what} in a call of their own"
        )
    for one in each:
        if one is not None and not (isinstance(one, str) and one.strip()):
            hint = "; leave it out to let the model speak" if what == "text" else ""
            raise ValueError(f"{what}: expected words, got {one!r}{hint}")
    return each


def _check_options(n_steps: int, batch_size: int, unknown: str, on_error: str) -> None:
    for name, number in (("n_steps", n_steps), ("batch_size", batch_size)):
        if number < 1:
            raise ValueError(f"{name}: expected 1 or more, got {number}")
    for name, choice, choices in (("unknown", unknown, ("error", "unk")), ("on_error", on_error, ("raise", "skip"))):
        if choice not in choices:
            raise ValueError(f"unknown {name} {choice!r}; choose from {', '.join(choices)}")


@functools.cache
def _versions() -> dict[str, str]:
    return {
        "multimodal_cam": version("multimodal-cam"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@contextmanager
def _reporter(progress: bool, total: int) -> Iterator[Any]:
    """A function that takes the number of images done; a progress bar on stderr when one is wanted."""
    if not progress:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("explaining", total=total)
        yield lambda done: bar.update(task, completed=done)
