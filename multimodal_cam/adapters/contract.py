"""The model contract: `TaskAdapter`, the minimum, and one protocol for each thing that a model may have beyond it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from PIL.Image import Image
from torch import Tensor, nn

from ..core.familiarity import Familiarity
from ..core.hooks import LayerTap
from ..core.layer_view import ActivationSlice, GridView, LayerView
from ..core.spans import Span
from ..scores import ScoreFn, ScoreSpec, log_prob
from .inputs import Inputs

Unknown = Literal["error", "unk"]


class UnknownModelError(ValueError):
    """No model has the name that `load` was given."""


class TaskAdapter(Protocol):
    """A model as the engine sees it. `b` rows, `t` tokens, `v` vocabulary, `(c, h, w)` the layer."""

    name: str
    task: str  # captioning, vqa, classification, similarity
    module: nn.Module  # holds all parameters; dotted layer names start here
    readout: nn.Module | None  # output projection, hidden states (b, t, d) -> logits; None if it cannot be hooked
    head_input_layer: nn.Module | None  # the affine module that alone reads `layer`, if there is one: evidence gets faster
    default_score: str  # a name of `SCORES`
    default_method: str
    n_alternatives: int  # number of likeliest tokens at each position that are explained, too: answers that were not given
    provenance: dict[str, str]  # hash or name of the weights

    @property
    def layer(self) -> nn.Module:
        """Explained by default: the backbone's last spatial layer."""

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        """Model inputs, on the model's device, from upright RGB images and a question for each.

        Raises ValueError for questions that the model does not take, or if it needs some.
        """

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """The model's own text: ids `(b, t)` without start and end tokens, right-padded with `PAD`."""

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        """The user's texts: ids `(b, t)`, right-padded with `PAD`. Raises ValueError for a text that the model cannot say."""

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """One row's tokens as the model writes them."""

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        """The words of one row's tokens; `text` is the user's wording, if the text is the user's."""

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        """Teacher-forced logits `(b, t, v)`: position `i` scores `ids[:, i]`, which may be `PAD`.

        With `activations` `(n b, c, h, w)` of `layer` only the head runs; `ids` then has `n b` rows, `inputs` still has `b`.
        """

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """A0, the activations of `layer` without a photo, `(b, c, h, w)` or broadcastable to it."""

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """The inputs with a mean-colour image in every place: the baseline of layers other than `layer`."""


# ---- what a model may have beyond the minimum: one protocol each, found by isinstance ----------------------------------------


@runtime_checkable
class HasAttention(Protocol):
    """A model that attends to the cells of its own layer."""

    def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        """Attention of each token over the grid of `layer`, `(b, t, h, w)`; each map sums to 1."""


@runtime_checkable
class HasFolder(Protocol):
    """A model that came from a folder of ours, which may hold more than its weights: names of channels."""

    folder: Path | None


@runtime_checkable
class HasOwnProbabilities(Protocol):
    """A model that says itself how likely a token is: its labels may have a probability each, instead of sharing one."""

    knows_logits: bool  # False: the network gives probabilities, and `logits` is their logarithm

    def log_prob(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Log-probability `(b, t)` of each of `ids` in nats."""


@runtime_checkable
class HasVisionTower(Protocol):
    """A model whose images pass through a module of their own."""

    tower: nn.Module  # the vision tower: layers outside of it are not on the image


@runtime_checkable
class HasLayerView(Protocol):
    """A model whose layers output something else than `(b, c, h, w)`."""

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> LayerView:
        """How the output of `layer` becomes activations and a grid; the engine's activations are what the view extracts."""


@runtime_checkable
class MeasuresLayers(HasLayerView, Protocol):
    """A model whose layers' layouts are measured, several together."""

    def readable_layers(self, inputs: Inputs, layers: Collection[nn.Module]) -> dict[nn.Module, LayerView]:
        """Views of those of `layers` that run once and follow the photo."""


@runtime_checkable
class ReadsQuestions(Protocol):
    """A model that reads questions."""

    question_layer: nn.Module | None  # outputs the embeddings (b, q, d) of the question's tokens; None: no shares of its words

    def question_spans(self, question: str) -> list[Span]:
        """The question's words as runs of its tokens; `known=False` for words that the model reads as `<unk>`."""


@runtime_checkable
class ReadsQuestionsInPrompts(ReadsQuestions, Protocol):
    """A model whose `question_layer` embeds more than the question: a prompt with places for the image, the text itself."""

    question_before_layer: bool  # the question is read before `layer`: attribution to its words runs the whole network

    def question_view(self, inputs: Inputs) -> ActivationSlice | None:
        """Which outputs of `question_layer` are the question's tokens; None if they cannot be told apart."""


@runtime_checkable
class DoubtsWords(Protocol):
    """A captioner that can tell which nouns of its own captions nobody else may name."""

    def doubts(
        self, inputs: Inputs, ids: Tensor, activations: Tensor | None, log_probs: Tensor, reliance: Tensor
    ) -> Tensor | None:
        """Doubt `(b, t)` in 0..1 of ids `(b, t)`, NaN for all but nouns; None where the model has no fit of its doubts.

        `log_probs` and `reliance` are those of the ids, `(b, t)`; `activations` those of `layer`, if they are known.
        """


@runtime_checkable
class RunsWithoutQuestion(Protocol):
    """A VQA model that can answer without a question: a baseline for accuracy."""

    def logits_without_question(self, inputs: Inputs) -> Tensor:
        """Logits `(b, v)` when no question is asked."""


@runtime_checkable
class TellsFamiliarity(Protocol):
    """A model that may know how far a photo is from those that it was trained on."""

    def familiarity(self, inputs: Inputs, activations: Tensor | None = None) -> list[Familiarity] | None:
        """Familiarity of each row's photo; with `activations` of `layer` `(b, ...)` nothing runs. None without a fit."""


@runtime_checkable
class HasBatchKey(Protocol):
    """A model whose rows cannot always share a batch."""

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        """Rows with different keys never run in one batch: grids or prompts of different sizes."""


@runtime_checkable
class ReadsStoredValues(Protocol):
    """A model whose preprocessing may want photos as they are stored, and not in 8 bits."""

    raw: bool  # whether it does: `stored_values` of its images are then read

    def trial_photo(self, image: Image) -> Image:
        """An RGB image that was made up, with stored values that the model takes."""


@runtime_checkable
class ReplacesWords(Protocol):
    """A model in which the tokens of a word depend on its neighbours."""

    def replace_word(self, ids: Sequence[int], word: Span, other: str) -> list[int]:
        """The ids with `other` in the place of `word`. Raises ValueError if the tokens before it would change."""


def layer_view_of(adapter: TaskAdapter, inputs: Inputs, layer: nn.Module) -> LayerView:
    """The adapter's own view of `layer`; a tensor `(b, c, h, w)` unless it has one."""
    return adapter.layer_view(inputs, layer) if isinstance(adapter, HasLayerView) else GridView()


def tap_layer(adapter: TaskAdapter, inputs: Inputs) -> LayerTap:
    """A tap on the adapter's own layer, through the adapter's view of it."""
    return LayerTap(adapter.layer, view=layer_view_of(adapter, inputs, adapter.layer))


def log_prob_of(adapter: TaskAdapter) -> ScoreFn:
    """The log-probability of a token: that of the softmax of the logits unless the adapter has its own."""
    return adapter.log_prob if isinstance(adapter, HasOwnProbabilities) else log_prob


def score_of(adapter: TaskAdapter, score: ScoreSpec) -> ScoreSpec:
    """The score as this model has it: `log_prob` is its own. Raises ValueError for logits that nobody knows."""
    if score.name == "logit" and isinstance(adapter, HasOwnProbabilities) and not adapter.knows_logits:
        raise ValueError(f"score='logit': {adapter.name} gives probabilities, not logits: choose log_prob or contrast")
    return replace(score, resolve=lambda *_: log_prob_of(adapter)) if score.name == "log_prob" else score


def group_by_batch_key(adapter: TaskAdapter, rows: Sequence[tuple[Image, str | None]]) -> list[list[int]]:
    """The indices of rows (image, question) that may share a batch: all of them unless the adapter has batch keys."""
    if not isinstance(adapter, HasBatchKey):
        return [list(range(len(rows)))] if rows else []
    groups: dict[Hashable, list[int]] = {}
    for i, (image, question) in enumerate(rows):
        groups.setdefault(adapter.batch_key(image, question), []).append(i)
    return list(groups.values())


def reads_raw(adapter: TaskAdapter) -> bool:
    """Whether images are to be loaded with their stored values (`load_image(source, raw=True)`)."""
    return isinstance(adapter, ReadsStoredValues) and adapter.raw


def trial_photo(adapter: TaskAdapter, image: Image) -> Image:
    """An RGB image that was made up, as a photo to try the model with."""
    return adapter.trial_photo(image) if isinstance(adapter, ReadsStoredValues) and adapter.raw else image


def refuse_questions(name: str, questions: Sequence[str] | None) -> None:
    """Raises ValueError when a model that takes no questions got some."""
    if questions is not None:
        raise ValueError(f"{name} takes no question, got {questions[0]!r}: leave it out, or load a model that answers questions")


class UnknownWordError(ValueError):
    """A word of the user's text that the model cannot say."""


def refuse_unknown(words: Iterable[str], known: Iterable[str]) -> None:
    """Raises UnknownWordError for the words that are not `known`, with near ones."""
    known = dict.fromkeys(known)
    unknown = [word for word in dict.fromkeys(words) if word not in known]
    if not unknown:
        return
    hints = []
    for word in unknown:
        near = difflib.get_close_matches(word, known, n=3)
        hints.append(f"{word!r} (near: {', '.join(near)})" if near else f"{word!r}")
    raise UnknownWordError(f"the model cannot say {', '.join(hints)}: choose another word, or unknown='unk' to feed it as <unk>")
