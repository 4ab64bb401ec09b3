"""Adapter of a user's own VQA network: an encoder, a head that reads a question, answers. Nothing to subclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from PIL import Image
from torch import Tensor, nn

from ..core.geometry import Placement
from ..core.spans import Span
from .custom_captioner import Tokenizer, tokenizer_of
from .encoder_input import EncoderAdapter, differentiable_rnn
from .image_preprocessing import ImagePreprocessing
from .inputs import Inputs, pad_ids
from .labels import LabelChooser, Labels


class CustomVQA(EncoderAdapter, LabelChooser):
    """See `vqa`."""

    task = "vqa"

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        labels: Labels,
        tokenizer: Tokenizer,
        preprocessing: ImagePreprocessing,
        *,
        head_input_layer: nn.Module | None,
        question_layer: nn.Module | None,
        max_words: int,
        name: str,
    ) -> None:
        super().__init__(nn.ModuleDict({"encoder": encoder, "head": head}), encoder, preprocessing)
        self.head, self.labels, self.tokenizer = head, labels, tokenizer
        self.head_input_layer, self.question_layer = head_input_layer, question_layer
        self.max_words, self.name = max_words, name

    def preprocess(self, images: Sequence[Image.Image], questions: Sequence[str] | None = None) -> Inputs:
        if questions is None:
            raise ValueError(f"{self.name} answers questions: pass question=")
        rows = [self.tokenizer.encode(question, "unk") for question in questions]
        for question, row in zip(questions, rows, strict=True):
            if not 0 < len(row) <= self.max_words:
                raise ValueError(
                    f"{self.name} reads questions of 1 to {self.max_words} tokens, this one has {len(row)}: {question!r}"
                )
        inputs = self.image_inputs(images)
        return inputs.with_questions(pad_ids(rows, inputs.pixels.device))

    def question_spans(self, question: str) -> list[Span]:
        return self.tokenizer.spans(self.tokenizer.encode(question, "unk"), question)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        assert inputs.question_ids is not None
        features = self.features(inputs) if activations is None else activations
        question = inputs.question_ids.repeat(len(ids) // len(inputs), 1)
        with differentiable_rnn(self.head, question.device):
            logits: Tensor = self.head(features, question)
        if logits.shape != (len(ids), len(self.labels)):
            raise ValueError(
                f"head(features, question): expected logits {(len(ids), len(self.labels))}, got {tuple(logits.shape)}"
            )
        return logits[:, None].expand(-1, ids.shape[1], -1)


def vqa(
    *,
    encoder: nn.Module,
    head: nn.Module,
    answers: Sequence[str],
    tokenizer: Tokenizer | Sequence[str] | Mapping[str, int],
    unk: int | None = None,
    head_input_layer: nn.Module | None = None,
    question_layer: nn.Module | None = None,
    preprocess: Callable[[Image.Image], Tensor] | None = None,
    image_size: int = 224,
    placement: Callable[[int, int], Placement] | None = None,
    max_words: int = 64,
    name: str = "vqa",
) -> CustomVQA:
    """Your own VQA network, ready for `explain`: `vqa(encoder=cnn, head=reader, answers=answers, tokenizer=words, unk=0)`.

    Args:
        encoder: `encoder(pixels)` gives a grid `(b, c, h, w)`; its output is the tapped layer.
        head: `head(features, question)` gives logits `(b, len(answers))` from the grid and the question's ids `(b, q)`,
            right-padded with -1.
        answers: Answers in the order of the logits.
        tokenizer: A list of the words that a question may have, a dict `word -> id`, or an object with `encode`, `tokens` and
            `spans` (see `Words`).
        unk: Id of the words that `tokenizer` lacks; None: they are an error.
        head_input_layer: Pooling or linear module of the head that alone reads the features; evidence gets faster.
        question_layer: Embedding of the head, whose output `(b, q, d)` gives each word of the question its share.
        preprocess, image_size, placement: As for `captioner`.
        max_words: Longest question in tokens.
        name: Name in records and pages.

    Returns:
        A `TaskAdapter`.

    Raises:
        ValueError: The ids of a `tokenizer` given as a dict have gaps.
    """
    return CustomVQA(
        encoder,
        head,
        Labels(answers),
        tokenizer_of(tokenizer, unk),
        ImagePreprocessing(preprocess, image_size, placement),
        head_input_layer=head_input_layer,
        question_layer=question_layer,
        max_words=max_words,
        name=name,
    )
