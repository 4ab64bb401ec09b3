"""explain(): the short path from image and text to Explanation.

Not called `explain.py`: a submodule of that name would hide the function `multimodal_cam.explain`.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, overload

import torch
from torch import Tensor, nn

from .adapters.contract import TaskAdapter, Unknown
from .adapters.inputs import PAD, Inputs
from .core.attribution import Batch, Request, TokenMaps, layer_view_of, rows_of_tap, span_map
from .core.hooks import LayerTap, evaluating
from .core.images import load_image
from .core.spans import Span, find, join, noun_phrases, sentence
from .methods.gradient import METHODS, NAMES, CamMethod
from .results.explanation import Explanation
from .scores import SCORES, ScoreFn

if TYPE_CHECKING:
    from PIL.Image import Image

    from .core.images import ImageSource

OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class Failure:
    """Stands in the place of an Explanation that could not be had (`on_error="skip"`)."""

    image: Any
    error: Exception


@overload
def explain(model: TaskAdapter, images: list[Any] | tuple[Any, ...], **options: Any) -> list[Explanation]: ...
@overload
def explain(
    model: TaskAdapter, images: ImageSource, *, question: list[str] | tuple[str, ...], **options: Any
) -> list[Explanation]: ...
@overload
def explain(model: TaskAdapter, images: ImageSource, **options: Any) -> Explanation: ...
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

    One image (path, PIL image, or uint8 array `(H, W, 3)`) gives an Explanation, a list gives a list; `text` and `question`
    are then one for all or a list. A list of questions (or texts) about one image gives a list, too; the backbone runs once
    for an image, however many they are. `text` is what is explained in the place of what the model says itself: a caption, an
    answer, a class.

    `instead_of="ball"` explains by how much the answer beats another one (the difference of the two logits, in nats);
    `instead_of={"dog": "cat"}` does so for a word of a caption, at its place, other words are compared with their likeliest
    rivals. `counterfactual=True` shows what speaks against: the score's sign is reversed (Selvaraju et al., IJCV 2020,
    sec. 3.3).

    `method`: a name of `methods.NAMES` (`attention` for models that have it) or a function
    `(activations (m, c, h, w), gradients (m, c, h, w)) -> (m, h, w)`. `score`: `log_prob`, `logit`, `contrast` or a function
    `(logits (b, t, v), ids (b, t)) -> (b, t)` whose value at a position depends on the logits there only. `layer`: a module or
    its dotted name. `n_steps`: steps of `evidence`. `unknown="unk"` feeds words outside the vocabulary as `<unk>` and gives them
    NaN maps. `generation` goes to the model's decoder (`beam=3`, `do_sample=True`); the random state is put back afterwards, so
    what is drawn is another text only after another `torch.manual_seed`.

    Raises TypeError or ValueError for bad input, FileNotFoundError for a missing photo; with `on_error="skip"` a photo that
    fails leaves a `Failure` in its place.
    """
    single = not isinstance(images, (list, tuple))
    sources: Sequence[ImageSource] = [images] if single else images  # type: ignore[assignment, list-item]
    if single and (several := next((x for x in (question, text) if _is_list(x)), None)) is not None:
        single, sources = False, [*sources] * len(several)
    texts, questions = _one_each("text", text, len(sources)), _one_each("question", question, len(sources))
    request = _request(model, method, score, layer, n_steps, instead_of, counterfactual)
    _check(batch_size, unknown, on_error)
    work = _Work(model, request, instead_of, unknown, generation)
    results: list[Explanation | Failure] = []
    with _untouched(model.module), _reporter(progress, len(sources)) as report:
        for start in range(0, len(sources), batch_size):
            part = slice(start, start + batch_size)
            results += work.run(list(zip(sources[part], texts[part], questions[part], strict=True)), on_error)
            report(len(results))
    return results[0] if single else results


Row = tuple["ImageSource", str | None, str | None]  # image, text, question
LoadedRow = tuple["Image", str | None, str | None]


@dataclass(frozen=True)
class _Work:
    """Everything that is the same for all batches of a call."""

    model: TaskAdapter
    request: Request
    instead_of: str | Mapping[str, str] | None
    unknown: Unknown
    generation: dict[str, Any]

    def run(self, rows: Sequence[Row], on_error: OnError) -> list[Explanation | Failure]:
        """A batch; when it fails and failures are to be skipped, its rows one by one, to find the one at fault."""
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
            found |= zip(group, self._together([loaded_rows[i] for i in group]), strict=True)
        return (found[i] for i in range(len(rows)))

    def _together(self, rows: Sequence[LoadedRow]) -> Iterator[Explanation]:
        images = [image for image, _, _ in rows]
        texts, questions = [text for _, text, _ in rows], [question for _, _, question in rows if question is not None]
        inputs = self.model.preprocess(images, questions or None)
        ids, activations = self._ids(inputs, texts)
        words = [self.model.spans(_real(row), text) for row, text in zip(ids, texts, strict=True)]
        batch = Batch(self.model, inputs, ids, self.request, self._rivals(ids, words))
        found = batch.explain(activations)
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

    def _rivals(self, ids: Tensor, words: Sequence[Sequence[Span]]) -> Tensor | None:
        """The tokens to compare with, `PAD` where the likeliest other one is."""
        if self.instead_of is None:
            return None
        contrast_ids = torch.full_like(ids, PAD)
        for row, own, spans in zip(contrast_ids, ids, words, strict=True):
            for word, other in self._swaps(spans).items():
                theirs = self._swapped(own, spans, word, other)
                run = range(word.start, min(word.stop, len(theirs)))
                first = next((i for i in run if theirs[i] != own[i]), None)
                if first is None:
                    raise ValueError(
                        f"instead_of: {self.model.name} reads {other!r} as it reads {word.text!r}: choose another word"
                    )
                row[word.start : word.stop] = own[word.start : word.stop]  # no difference but at the first that differs
                row[first] = theirs[first]
        return contrast_ids

    def _swapped(self, ids: Tensor, spans: Sequence[Span], word: Span, other: str) -> Tensor:
        """The ids of the text that says `other` in the place of `word`."""
        swap = getattr(self.model, "replace_word", None)
        if swap is not None:
            return torch.tensor(swap(_real(ids), word, other), device=ids.device)
        before = [span.text for span in spans if span.stop <= word.start]
        return self.model.tokenize([" ".join([*before, other, *(span.text for span in spans if span.start >= word.stop)])])[0]

    def _swaps(self, words: Sequence[Span]) -> dict[Span, str]:
        """Which words are compared with which others."""
        if isinstance(self.instead_of, str):
            if len(words) != 1:
                raise ValueError(
                    f"instead_of: {sentence(words)!r} has {len(words)} words, say which: instead_of={{WORD: {self.instead_of!r}}}"
                )
            return {words[0]: self.instead_of}
        assert self.instead_of is not None
        return {find(words, word): other for word, other in self.instead_of.items()}

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
        tokens = _real(found.ids[0, i])
        t = len(tokens)
        request = self.request
        linear = found.maps is not None
        phrases = () if linear or len(words) == 1 else tuple(noun_phrases(words))
        named = isinstance(request.score, str)
        asked = () if question is None else tuple(self.model.question_spans(question))
        explanation = Explanation(
            image=image,
            text=sentence(words) if text is None else text,
            tokens=tuple(self.model.tokens(tokens)),
            words=tuple(words),
            placement=inputs.placements[i],
            model=self.model.name,
            method=_name(request.method),
            score=("-" if request.counterfactual else "") + _name(request.score),
            unit=SCORES[str(request.score)][0] if named else "score",
            layer=request.layer_name,
            token_scores=_result(found.scores[0, i, :t]),
            token_log_probs=_result(found.log_probs[0, i, :t]),
            token_reliance=_result(found.reliance[i, :t]),
            token_maps=_result(found.maps[0, :t, i]) if found.maps is not None else None,
            span_maps={} if linear else self._span_maps(found, i, [*words, *phrases, join(words)]),
            token_changes=None if found.changes is None else _result(found.changes[i, :t]),
            token_unplaced=None if found.unplaced is None else _result(found.unplaced[i, :t]),
            question=question,
            question_spans=asked,
            token_question=None if found.question is None else _result(found.question[:t, i, : asked[-1].stop]),
            **self._alternatives(found, i, t),
            instead_of={word.text: other for word, other in self._swaps(words).items()} if self.instead_of else {},
            provenance=_versions() | self.model.provenance | found.notes | {"n_steps": str(request.n_steps)},
        )
        if not linear:
            explanation.__dict__["phrase_spans"] = phrases
        return explanation

    def _alternatives(self, found: TokenMaps, i: int, t: int) -> dict[str, Any]:
        """The other columns of a row: what else could have been said at each position, and its maps."""
        others = found.ids[1:, i, :t]
        if not len(others):
            return {}
        if found.maps is not None:
            maps = found.maps[1:, :t, i]
        else:
            maps = torch.stack(
                [
                    torch.stack([span_map(found, i, slice(j, j + 1), self._method, column) for j in range(t)])
                    for column in range(1, len(found.ids))
                ]
            )
        return {
            "alternatives": tuple(tuple(self.model.tokens(ids)) for ids in others.T.tolist()),
            "alternative_log_probs": _result(found.log_probs[1:, i, :t].T),
            "alternative_scores": _result(found.scores[1:, i, :t].T),
            "alternative_maps": _result(maps.transpose(0, 1)),
        }

    def _span_maps(self, found: TokenMaps, i: int, spans: Sequence[Span]) -> dict[tuple[int, int], Tensor]:
        return {
            (span.start, span.stop): _result(span_map(found, i, slice(span.start, span.stop), self._method))
            * (1.0 if span.known else torch.nan)
            for span in spans
        }

    @property
    def _method(self) -> CamMethod:
        return METHODS[self.request.method] if isinstance(self.request.method, str) else self.request.method


def group_by_batch_key(model: TaskAdapter, rows: Sequence[tuple[Image, str | None]]) -> list[list[int]]:
    """The indices of rows (image, question) that may run together: the model may want grids, or prompts, of one size."""
    kind = getattr(model, "batch_key", lambda *_: None)
    groups: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(kind(*row), []).append(i)
    return list(groups.values())


def _real(ids: Tensor) -> list[int]:
    """One row's ids without its padding."""
    return [i for i in ids.tolist() if i != PAD]


def _result(tensor: Tensor) -> Tensor:
    """For the user: float32 on the CPU, sharing nothing with the batch."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _request(
    model: TaskAdapter,
    method: str | CamMethod | None,
    score: str | ScoreFn | None,
    layer: str | nn.Module | None,
    n_steps: int,
    instead_of: str | Mapping[str, str] | None,
    counterfactual: bool,
) -> Request:
    method = model.default_method if method is None else method
    if instead_of is not None and score not in (None, "contrast"):
        raise ValueError(f"instead_of explains a difference of logits, score='contrast': leave score={_name(score)!r} out")
    if score is None:
        score = _name(model.default_score) if instead_of is None else "contrast"
    if isinstance(method, str):
        _choose("method", method, NAMES)
    if method == "attention" and not hasattr(model, "attention"):
        raise ValueError(f"{model.name} has no attention to show; choose from {', '.join(n for n in NAMES if n != 'attention')}")
    if isinstance(score, str):
        _choose("score", score, sorted(SCORES))
    if n_steps < 1:
        raise ValueError(f"n_steps: expected 1 or more, got {n_steps}")
    module, name = resolve_layer(model, layer)
    if method == "attention" and module is not model.layer:
        raise ValueError(f"attention is over the grid of {resolve_layer(model, None)[1]!r}: leave layer={name!r} out")
    return Request(module, name, method, score, n_steps, counterfactual, model.n_alternatives)


def resolve_layer(model: TaskAdapter, layer: str | nn.Module | None) -> tuple[nn.Module, str]:
    """The module and its dotted name. Raises ValueError with near names when the model has no such layer."""
    names = {module: name for name, module in model.module.named_modules()}
    if layer is None:
        return model.layer, names.get(model.layer, "layer")
    if isinstance(layer, nn.Module):
        if layer not in names:
            raise ValueError(f"layer: this {type(layer).__name__} is not a part of the model {model.name!r}")
        return layer, names[layer]
    modules = dict(model.module.named_modules())
    _choose("layer", layer, [name for name in modules if name])
    return modules[layer], layer


def _choose(what: str, choice: str, choices: Sequence[str]) -> None:
    if choice in choices:
        return
    import difflib

    shown = choices if len(choices) <= 12 else difflib.get_close_matches(choice, choices, n=8, cutoff=0.3)
    raise ValueError(f"unknown {what} {choice!r}; choose from {', '.join(shown)}")


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


def _check(batch_size: int, unknown: str, on_error: str) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    _choose("unknown", unknown, ("error", "unk"))
    _choose("on_error", on_error, ("raise", "skip"))


def _name(thing: Any) -> str:
    return thing if isinstance(thing, str) else getattr(thing, "__name__", type(thing).__name__)


@functools.cache
def _versions() -> dict[str, str]:
    return {
        "multimodal_cam": version("multimodal-cam"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@contextmanager
def _untouched(module: nn.Module) -> Iterator[None]:
    """Whatever happens inside, the model's modes and the random state are afterwards what they were."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        where = {weight.device.index for weight in module.parameters() if weight.device.type == "cuda"}
        stack.enter_context(torch.random.fork_rng(devices=sorted(where)))
        stack.enter_context(evaluating(module))
        yield


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
