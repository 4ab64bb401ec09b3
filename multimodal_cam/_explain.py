"""explain(): the short path from image and text to Explanation.

Not called `explain.py`: a submodule of that name would hide the function `multimodal_cam.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeGuard, Unpack, overload

from torch import nn

from ._argument_check import check_generation, check_model, split_method_options, texts_of_ids
from ._channel_request import channel_names, with_channels
from ._contrast import check_instead_of
from ._explain_batch import BatchExplainer, OnError
from ._explanation import Explanation
from ._layer_request import listed_layers, without_repeats
from .adapters.contract import HasAttention, TaskAdapter, Unknown, score_of
from .adapters.layer_choice import resolve_layer
from .core.call_scope import unchanged_state
from .core.decoding_options import check_decoding
from .core.forward_pass import AttributionRequest
from .core.layer_fusion import Fusion
from .methods.method_options import MethodOptions
from .methods.spec import METHODS, CamMethod, find_method
from .results.records import Failure
from .scores import ScoreFn, find_score, score_name

if TYPE_CHECKING:
    from pathlib import Path

    from .core.images import ImageSource


class GenerationOptions(TypedDict, total=False):
    """Options of the model's decoder. Hugging Face models take all that their `generate` takes, these among them."""

    beam: int
    length_penalty: float
    max_words: int
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    num_beams: int
    max_new_tokens: int
    min_new_tokens: int
    max_length: int


class ExplainedOptions(GenerationOptions, MethodOptions, total=False):
    """The options of `explain` beside `text`, `question` and `on_error`, for type checkers and editors."""

    instead_of: str | Mapping[str, str] | None
    counterfactual: bool
    method: str | CamMethod | None
    score: str | ScoreFn | None
    layer: str | nn.Module | Sequence[str | nn.Module] | None
    fuse: Fusion | None
    n_steps: int | None
    channels: bool | str | Path
    unknown: Unknown
    batch_size: int
    progress: bool


class ExplainOptions(ExplainedOptions, total=False):
    """Those and `on_error`: who skips what fails gets a `Failure` in its place, as the overloads of `explain` say."""

    on_error: OnError


@overload
def explain(
    model: TaskAdapter,
    images: list[Any] | tuple[Any, ...],
    *,
    text: str | Sequence[str] | None = None,
    question: str | Sequence[str] | None = None,
    on_error: Literal["raise"] = "raise",
    **options: Unpack[ExplainedOptions],
) -> list[Explanation]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: str | Sequence[str] | None = None,
    question: list[str] | tuple[str, ...],
    on_error: Literal["raise"] = "raise",
    **options: Unpack[ExplainedOptions],
) -> list[Explanation]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: list[str] | tuple[str, ...],
    question: str | None = None,
    on_error: Literal["raise"] = "raise",
    **options: Unpack[ExplainedOptions],
) -> list[Explanation]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: str | None = None,
    question: str | None = None,
    on_error: Literal["raise"] = "raise",
    **options: Unpack[ExplainedOptions],
) -> Explanation: ...
@overload
def explain(
    model: TaskAdapter,
    images: list[Any] | tuple[Any, ...],
    *,
    text: str | Sequence[str] | None = None,
    question: str | Sequence[str] | None = None,
    **options: Unpack[ExplainOptions],
) -> list[Explanation | Failure]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: str | Sequence[str] | None = None,
    question: list[str] | tuple[str, ...],
    **options: Unpack[ExplainOptions],
) -> list[Explanation | Failure]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: list[str] | tuple[str, ...],
    question: str | None = None,
    **options: Unpack[ExplainOptions],
) -> list[Explanation | Failure]: ...
@overload
def explain(
    model: TaskAdapter,
    images: ImageSource,
    *,
    text: str | None = None,
    question: str | None = None,
    **options: Unpack[ExplainOptions],
) -> Explanation | Failure: ...
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
    layer: str | nn.Module | Sequence[str | nn.Module] | None = None,
    fuse: Fusion | None = None,
    n_steps: int | None = None,
    channels: bool | str | Path = False,
    unknown: Unknown = "error",
    batch_size: int = 32,
    progress: bool = False,
    on_error: OnError = "raise",
    **others: Any,
) -> Any:
    """Where `model` looked for each word that it says about an image, for each word of `text`, or for its answer to `question`.

    Args:
        model: What `load`, `captioner`, `vqa` or `classifier` gave.
        images: One image (path, PIL image, array or tensor; `load_image` says what becomes of it) or a list of them.
        text: What is explained instead of the model's own words: a caption, an answer, a class or its id. One for all images,
            or a list.
        question: One for all images, or a list; the backbone runs once for an image, however many questions it has.
        instead_of: `"ball"` explains by how much the answer beats another one (the difference of the two logits, in nats);
            `{"dog": "cat"}` does so for a word of a caption, at its place; other words are contrasted with their likeliest rival.
        counterfactual: Reverses the score's sign: what speaks against the words (Selvaraju et al., IJCV 2020, sec. 3.3).
        method: A name of `METHODS` (`attention` for models that have it) or a function
            `(activations (m, c, h, w), gradients (m, c, h, w)) -> (m, h, w)`; the model's default for None. Maps by methods of
            pixels (`gradient`, `guided_backprop`, `guided_grad_cam`, ...) are as large as the pixels that the network takes.
        score: A name of `SCORES` or a function `(logits (b, t, v), ids (b, t)) -> (b, t)` whose value at a position depends on
            the logits there only; the model's default for None.
        layer: A module of the model or its dotted name; the backbone's last spatial layer for None. The maps of a list
            of layers become one on the finest grid, where each keeps its sum.
        fuse: How: `"mean"` (for None), or `"product"`, the geometric mean of their positive parts.
        n_steps: Steps of the path of `evidence`, exactly so many. None takes 16, and 48 or 144 for a word whose map misses the
            change of its score by more than 2 % of it, or by more than .02; `provenance["n_steps_added"]` then names it. Also
            the steps of `pixel_integrated_gradients` and the noisy copies of `smooth_grad` and
            `smooth_grad_cam_pp`, 16 for None.
        channels: True keeps the maps of each channel of the layer, for `e.channels` and `e.explanation_text`, by methods whose
            maps are sums over channels (`evidence`, `grad_cam`, `hires_cam`, `xgrad_cam`); those of a word are as large as the
            layer's activations. Channels have names where `channels.json` lies beside the weights, or at the path that is given.
        unknown: `"unk"` feeds words outside the vocabulary as `<unk>` and gives them NaN maps; `"error"` refuses them.
        batch_size: Rows that run together; by methods of pixels four at most.
        progress: Shows a progress bar on stderr.
        on_error: With `"skip"`, a photo that fails leaves a `Failure` in its place.
        others: Options of the method, those of `MethodOptions`: `window=`, `stride=`, `fill=`, `where=` of `occlusion`.
            And of the model's decoder: `beam=` and `length_penalty=` of captioners, ours and yours (`beam=1`, greedy,
            is the default of yours), `max_words=` of yours, what `generate` takes (`do_sample=True`) of Hugging Face's. The
            random state is put back afterwards, so a sampled text differs only after another `torch.manual_seed`.

    Returns:
        An `Explanation` for one image, a list for a list of images, questions or texts; with `on_error="skip"` a `Failure` may
        stand in the place of each.

    Raises:
        TypeError, ValueError: Bad input, or a layer that the text does not depend on.
        FileNotFoundError: A photo that is not there.
    """
    check_model(model)
    method_options, generation = split_method_options(model, others)
    check_generation(model, generation, {*ExplainOptions.__annotations__, *GenerationOptions.__annotations__, "text", "question"})
    text = texts_of_ids(model, text)
    single = not isinstance(images, (list, tuple))
    sources: Sequence[ImageSource] = [images] if single else images  # type: ignore[assignment, list-item]
    if single and (several := next((x for x in (question, text) if _is_list(x)), None)) is not None:
        single, sources = False, [*sources] * len(several)
    texts, questions = _one_each("text", text, len(sources)), _one_each("question", question, len(sources))
    check_decoding(generation)
    check_instead_of(instead_of)
    if instead_of is not None and score not in (None, "contrast"):
        given = score if isinstance(score, str) else score_name(score)
        raise ValueError(f"instead_of explains a difference of logits, score='contrast': leave score={given!r} out")
    if instead_of is not None:
        score = "contrast"
    _check_options(n_steps, batch_size, unknown, on_error)
    spec = find_method(model.default_method if method is None else method)
    first, *rest = listed_layers(layer, fuse, spec)
    request = _resolve_request(model, method, score, first, n_steps, counterfactual)
    _, *further = without_repeats([(request.layer, request.layer_name), *(resolve_layer(model, one) for one in rest)])
    request = replace(request, other_layers=tuple(further), fuse=fuse or "mean")
    request = replace(request, options=request.method.read_options(method_options))
    names: Mapping[int, str] = {}
    if channels is not False and request.other_layers:
        raise ValueError("channels: expected one layer, whose channels they are, got a list of them")
    if channels is not False:
        request, names = with_channels(request), channel_names(model, request, channels)
    explainer = BatchExplainer(model, request, instead_of, unknown, generation, names)
    results: list[Explanation | Failure] = []
    with unchanged_state(model.module), _progress_bar(len(sources)) if progress else nullcontext() as report:
        for start in range(0, len(sources), batch_size):
            part = slice(start, start + batch_size)
            if report is not None:
                explainer = replace(explainer, request=replace(request, report=_within(report, start, len(sources[part]))))
            results += explainer.run(list(zip(sources[part], texts[part], questions[part], strict=True)), on_error)
            if report is not None:
                report(len(results))
    return results[0] if single else results


def _resolve_request(
    model: TaskAdapter,
    method: str | CamMethod | None,
    score: str | ScoreFn | None,
    layer: str | nn.Module | None,
    n_steps: int | None,
    counterfactual: bool,
) -> AttributionRequest:
    """Names to table entries and modules; None to the model's defaults. Raises ValueError for what there is not."""
    spec = find_method(model.default_method if method is None else method)
    if spec.kind == "attention" and not isinstance(model, HasAttention):
        choices = ", ".join(name for name, other in METHODS.items() if other.kind != "attention")
        raise ValueError(f"{model.name} has no attention to show; choose from {choices}")
    scored = score_of(model, find_score(model.default_score if score is None else score))
    module, name = resolve_layer(model, layer)
    if spec.kind == "attention" and module is not model.layer:
        raise ValueError(f"attention is over the grid of {resolve_layer(model, None)[1]!r}: leave layer={name!r} out")
    if layer is not None and not spec.uses_layer:
        raise ValueError(f"{spec.name} is of the photo's pixels, not of a layer: leave layer={name!r} out")
    steps = AttributionRequest.n_steps if n_steps is None else n_steps
    return AttributionRequest(module, name, spec, scored, steps, counterfactual, model.n_alternatives, n_steps is None)


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
        if one is not None and any("\ud800" <= character <= "\udfff" for character in one):
            raise ValueError(f"{what}: expected text, got bytes that are no UTF-8 in {one!r}")
    return each


def _check_options(n_steps: int | None, batch_size: int, unknown: str, on_error: str) -> None:
    for name, number in (("n_steps", n_steps), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise ValueError(f"{name}: expected 1 or more, got {number}")
    for name, choice, choices in (("unknown", unknown, ("error", "unk")), ("on_error", on_error, ("raise", "skip"))):
        if choice not in choices:
            raise ValueError(f"unknown {name} {choice!r}; choose from {', '.join(choices)}")


def _within(report: Callable[[float], None], start: int, count: int) -> Callable[[int, int], None]:
    """What reports the passes of a batch of `count` images as shares of these."""
    return lambda done, total: report(start + count * done / total)


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr; gives a function that takes the number of images done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("explaining", total=total)
        yield lambda done: bar.update(task, completed=done)
