"""What the engine knows of a model: `TaskAdapter`, a protocol. One file per model family implements it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

from PIL.Image import Image
from torch import Tensor, nn

from ..core.spans import Span
from ..scores import ScoreFn
from .inputs import Inputs

Unknown = Literal["error", "unk"]


class TaskAdapter(Protocol):
    """A model, seen by the engine. `b` images, `t` tokens, `v` vocabulary, `(c, h, w)` the layer."""

    name: str
    task: str  # captioning, vqa, classification: what it is listed as
    module: nn.Module  # everything that has parameters: dotted layer names start here
    layer: nn.Module  # tapped by default
    readout: nn.Module | None  # hidden states (b, t, d) -> logits, position by position: the second cut
    head_input_layer: (
        nn.Module | None
    )  # what the head does first with the layer's output, if that is affine: evidence gets faster
    question_layer: nn.Module | None  # gives the embeddings (b, q, d) of the question's tokens; None: asks no questions
    default_score: ScoreFn  # explained by default
    default_method: str  # used by default
    n_alternatives: int  # how many of the likeliest tokens at each position are explained, too: answers that were not given
    provenance: dict[str, str]  # weights' hash and the like, for the record

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        """Upright RGB images, and a question for each -> what the model takes, on its device.

        Raises ValueError for questions that the model does not take, or needs.
        """

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """The model's own text: ids `(b, t)` without start and end tokens, right-padded with `PAD`."""

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        """The user's texts: ids `(b, t)`, right-padded with `PAD`. Raises ValueError for a text that the model cannot say."""

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """One image's tokens as the model writes them."""

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        """One image's tokens -> words; `text` is the user's wording where there is one."""

    def question_spans(self, question: str) -> list[Span]:
        """The question's words, as runs of its tokens; `known=False` for those that the model reads as `<unk>`."""

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        """Teacher-forced logits `(b, t, v)`: position `i` scores `ids[:, i]` (`PAD` may stand there).

        With `activations` `(n b, c, h, w)` of `layer`, the head runs from them, `ids` has as many rows, and the backbone
        does not run; `inputs` still has `b`.
        """

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """A0: what `layer` holds when there is no photo, `(b, c, h, w)` or broadcastable to it."""

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """The same inputs with a mean-colour image in every place: the baseline of layers other than `layer`."""

    # Optional, for models that attend: where each token looked on the grid of `layer`, every map adds up to 1
    # def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor: ...  # (b, t, h, w)
    # Optional, where layers give something else than (b, c, h, w): how to see one; activations are then what it takes
    # def layer_view(self, inputs: Inputs, layer: nn.Module) -> LayerView: ...
    # Optional, where the question layer gives more than the question's tokens: which they are; None: nobody can say
    # def question_view(self, inputs: Inputs) -> ActivationSlice | None: ...
    # Optional: whether the question is read before `layer`: its words' shares then take a run of the whole network
    # question_before_layer: bool
    # Optional: rows (image, question) that differ in this are never in one batch
    # def batch_key(self, image: Image, question: str | None) -> Hashable: ...
    # Optional, where a word's tokens depend on its neighbours: the ids with `other` said in the place of `word`
    # def swap(self, ids: Sequence[int], word: Span, other: str) -> list[int]: ...


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
