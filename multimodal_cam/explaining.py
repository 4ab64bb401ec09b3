"""explain(): the short path from image and text to Explanation.

Not called `explain.py`: a submodule of that name would hide the function `multimodal_cam.explain`.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from .adapters import PAD, Inputs, TaskAdapter, Unknown
from .engine import Batch, Request, TokenMaps, span_map
from .explanation import Explanation
from .images import load_image
from .methods import METHODS, CamMethod
from .scores import SCORES, ScoreFn
from .spans import Span, join, noun_phrases
from .tap import LayerTap, evaluating

if TYPE_CHECKING:
    from PIL.Image import Image

    from .images import ImageSource

OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class Failure:
    """Stands in the place of an Explanation that could not be had (`on_error="skip"`)."""

    image: Any
    error: Exception


@overload
def explain(model: TaskAdapter, images: list[Any] | tuple[Any, ...], **options: Any) -> list[Explanation]: ...
@overload
def explain(model: TaskAdapter, images: ImageSource, **options: Any) -> Explanation: ...
def explain(
    model: TaskAdapter,
    images: ImageSource | Sequence[ImageSource],
    *,
    text: str | Sequence[str] | None = None,
    question: str | None = None,
    method: str | CamMethod | None = None,
    score: str | ScoreFn | None = None,
    layer: str | nn.Module | None = None,
    nodes: int = 16,
    unknown: Unknown = "error",
    batch_size: int = 32,
    progress: bool = False,
    on_error: OnError = "raise",
    **generation: Any,
) -> Any:
    """Where `model` looked for each word that it says about an image, or for each word of `text`.

    One image (path, PIL image, or uint8 array `(H, W, 3)`) gives an Explanation, a list gives a list; `text` is then one for
    all or a list. `method`: a name of `METHODS` or a function `(activations (m, c, h, w), gradients (m, c, h, w)) -> (m, h, w)`.
    `score`: `log_prob`, `logit`, `contrast` or a function `(logits (b, t, v), ids (b, t)) -> (b, t)` whose value at a position
    depends on the logits there only. `layer`: a module or its dotted name. `nodes`: steps of `evidence`. `unknown="unk"` feeds
    words outside the vocabulary as `<unk>` and gives them NaN maps. `generation` goes to the model's decoder (`beam=3`).

    Raises TypeError or ValueError for bad input, FileNotFoundError for a missing photo; with `on_error="skip"` a photo that
    fails leaves a `Failure` in its place.
    """
    single = not isinstance(images, (list, tuple))
    sources: Sequence[ImageSource] = [images] if single else images  # type: ignore[assignment, list-item]
    texts = _texts(text, len(sources))
    request = _request(model, method, score, layer, nodes)
    _check(batch_size, unknown, on_error)
    work = _Work(model, request, question, unknown, generation)
    results: list[Explanation | Failure] = []
    with _untouched(model.module), _reporter(progress, len(sources)) as report:
        for start in range(0, len(sources), batch_size):
            part = slice(start, start + batch_size)
            results += work.run(sources[part], texts[part], on_error)
            report(len(results))
    return results[0] if single else results


@dataclass(frozen=True)
class _Work:
    """Everything that is the same for all batches of a call."""

    model: TaskAdapter
    request: Request
    question: str | None
    unknown: Unknown
    generation: dict[str, Any]

    def run(self, sources: Sequence[ImageSource], texts: Sequence[str | None], on_error: OnError) -> list[Explanation | Failure]:
        """A batch; when it fails and failures are to be skipped, its images one by one, to find the one at fault."""
        try:
            return list(self.explain([load_image(source) for source in sources], texts))
        except Exception as error:
            if on_error == "raise":
                raise
            if len(sources) == 1:
                return [Failure(sources[0], error)]
        pairs = zip(sources, texts, strict=True)
        return [result for source, text in pairs for result in self.run([source], [text], on_error)]

    def explain(self, images: Sequence[Image], texts: Sequence[str | None]) -> Iterator[Explanation]:
        inputs = self.model.preprocess(images)
        ids, activations = self._ids(inputs, texts)
        found = Batch(self.model, inputs, self.question, ids, self.request).explain(activations)
        for i, (image, text) in enumerate(zip(images, texts, strict=True)):
            yield self._explanation(image, text, inputs, ids[i], found, i)

    def _ids(self, inputs: Inputs, texts: Sequence[str | None]) -> tuple[Tensor, Tensor | None]:
        """The ids to explain; generating them also gives the activations, if the layer ran once."""
        given = [text for text in texts if text is not None]
        if given:
            return self.model.tokenize(given, self.unknown), None
        with torch.no_grad(), LayerTap(self.request.layer, self.request.layer_name) as tap:
            ids = self.model.generate(inputs, self.question, **self.generation)
        return ids, tap.activations if tap.calls == 1 else None

    def _explanation(self, image: Image, text: str | None, inputs: Inputs, ids: Tensor, found: TokenMaps, i: int) -> Explanation:
        t = int((ids != PAD).sum())
        tokens = ids[:t].tolist()
        words = self.model.spans(tokens, text)
        request = self.request
        linear = found.maps is not None
        phrases = () if linear else tuple(noun_phrases(words))
        named = isinstance(request.score, str)
        explanation = Explanation(
            image=image,
            text=" ".join(word.text for word in words) if text is None else text,
            tokens=tuple(self.model.tokens(tokens)),
            words=tuple(words),
            placement=inputs.placements[i],
            model=self.model.name,
            method=_name(request.method),
            score=_name(request.score),
            unit=SCORES[str(request.score)][0] if named else "score",
            layer=request.layer_name,
            token_scores=_result(found.scores[i, :t]),
            token_log_probs=_result(found.log_probs[i, :t]),
            token_reliance=_result(found.reliance[i, :t]),
            token_maps=_result(found.maps[:t, i]) if found.maps is not None else None,
            span_maps={} if linear else self._span_maps(found, i, [*words, *phrases, join(words)]),
            token_changes=None if found.changes is None else _result(found.changes[i, :t]),
            provenance=_versions() | self.model.provenance | found.notes | {"nodes": str(request.nodes)},
        )
        if not linear:
            explanation.__dict__["phrase_spans"] = phrases
        return explanation

    def _span_maps(self, found: TokenMaps, i: int, spans: Sequence[Span]) -> dict[tuple[int, int], Tensor]:
        method = METHODS[self.request.method] if isinstance(self.request.method, str) else self.request.method
        return {
            (span.start, span.stop): _result(span_map(found, i, slice(span.start, span.stop), method))
            * (1.0 if span.known else torch.nan)
            for span in spans
        }


def _result(tensor: Tensor) -> Tensor:
    """For the user: float32 on the CPU, sharing nothing with the batch."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _request(
    model: TaskAdapter,
    method: str | CamMethod | None,
    score: str | ScoreFn | None,
    layer: str | nn.Module | None,
    nodes: int,
) -> Request:
    method = model.method if method is None else method
    score = _name(model.score) if score is None else score
    if isinstance(method, str) and method != "evidence":
        _choose("method", method, sorted(["evidence", *METHODS]))
    if isinstance(score, str):
        _choose("score", score, sorted(SCORES))
    if nodes < 1:
        raise ValueError(f"nodes: expected 1 or more, got {nodes}")
    module, name = find_layer(model, layer)
    return Request(module, name, method, score, nodes)


def find_layer(model: TaskAdapter, layer: str | nn.Module | None) -> tuple[nn.Module, str]:
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


def _texts(text: str | Sequence[str] | None, count: int) -> list[str | None]:
    if text is None or isinstance(text, str):
        texts: list[str | None] = [text] * count
    else:
        texts = list(text)
    if len(texts) != count:
        raise ValueError(f"text: expected one for each of the {count} images, got {len(texts)}")
    if None in texts and any(texts):
        raise ValueError("text: expected one for every image or for none; explain images without a text in a call of their own")
    for one in texts:
        if one is not None and not (isinstance(one, str) and one.strip()):
            raise ValueError(f"text: expected words, got {one!r}; leave it out to let the model speak")
    return texts


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
        stack.enter_context(torch.random.fork_rng(devices=[]))
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
