"""Adapter of a user's own VQA network: an encoder, a head that reads a question, answers. Nothing to subclass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from torch import Tensor, nn

from ..core.geometry import Placement
from ..core.spans import Span
from .embedding_limits import embedding_limits
from .encoder_input import EncoderAdapter, differentiable_rnn
from .followed_part import FollowedPart
from .given_layouts import Layouts
from .image_preprocessing import ImagePreprocessing
from .inputs import Inputs, pad_ids
from .labels import LabelChooser, Labels, label_names
from .network_outputs import NetworkOutputs, Outputs, OutputsOfAnyKind, trial_photos, try_outputs
from .region_boxes import Regions
from .unwrapping import unwrapped
from .word_tokenizer import Tokenizer, Words, tokenizer_of


class CustomVQA(EncoderAdapter, OutputsOfAnyKind, LabelChooser):
    """See `vqa`."""

    head_input_layer = FollowedPart()
    question_layer = FollowedPart()
    task = "vqa"

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        labels: Labels,
        tokenizer: Tokenizer,
        preprocessing: ImagePreprocessing,
        *,
        layout: Layouts,
        head_input_layer: nn.Module | None,
        question_layer: nn.Module | None,
        max_words: int,
        outputs: Outputs | None,
        name: str,
    ) -> None:
        super().__init__(nn.ModuleDict({"encoder": encoder, "head": head}), encoder, preprocessing, layout)
        self.head, self.labels, self.tokenizer = head, labels, tokenizer
        self.head_input_layer, self.question_layer = head_input_layer, question_layer
        self.max_words, self.name = max_words, name
        self.outputs = NetworkOutputs(outputs, name)
        trial = try_outputs(self.module, self._trial)
        if trial is not None:
            self.outputs.check(self._checked(trial, len(trial)))
        self.default_score = self.outputs.default_score(self.default_score)

    def _trial(self) -> Tensor:
        """Outputs for photos that differ, each with the same question."""
        inputs = self.trial_inputs(trial_photos())
        words = self.tokenizer.words if isinstance(self.tokenizer, Words) else self.tokenizer.encode("what is this?", "unk")
        question = pad_ids([list(words)[:3]] * len(inputs), self.device)
        output: Tensor = self.head(self.features(inputs), question)
        return output

    def preprocess(self, images: Sequence[Image.Image], questions: Sequence[str] | None = None) -> Inputs:
        if questions is None:
            raise ValueError(f"{self.name} answers questions: pass question=")
        rows = [self.tokenizer.encode(question, "unk") for question in questions]
        for question, row in zip(questions, rows, strict=True):
            if not 0 < len(row) <= self.max_words:
                raise ValueError(
                    f"{self.name} reads questions of 1 to {self.max_words} tokens, this one has {len(row)}: "
                    f"shorten it, or vqa(..., max_words=) of more: {question!r}"
                )
        inputs = self.image_inputs(images)
        return inputs.with_questions(pad_ids(rows, inputs.pixels.device))

    def question_spans(self, question: str) -> list[Span]:
        return self.tokenizer.spans(self.tokenizer.encode(question, "unk"), question)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        assert inputs.question_ids is not None
        features = self.features(inputs, activations)
        question = inputs.question_ids.repeat(len(ids) // len(inputs), 1)
        with differentiable_rnn(self.head, question.device), embedding_limits(self.name, self.head, question=question):
            outputs: Tensor = self.head(features, question)
        logits = self.outputs.logits(self._checked(outputs, len(ids)))
        return logits[:, None].expand(-1, ids.shape[1], -1)

    def _checked(self, outputs: Tensor, rows: int) -> Tensor:
        """The head's outputs. Raises ValueError if they are not one for each answer."""
        if outputs.shape != (rows, len(self.labels)):
            raise ValueError(
                f"head(features, question): expected logits {(rows, len(self.labels))}, one for each of answers=, "
                f"got {tuple(outputs.shape)}"
            )
        return outputs


def vqa(
    *,
    encoder: nn.Module,
    head: nn.Module,
    answers: Any,
    tokenizer: Any,
    unk: int | None = None,
    layout: Layouts = None,
    head_input_layer: nn.Module | None = None,
    question_layer: nn.Module | None = None,
    preprocess: Callable[[Image.Image], Tensor] | None = None,
    image_size: int = 224,
    placement: Callable[[int, int], Placement] | None = None,
    raw: bool = False,
    regions: Regions | None = None,
    max_words: int = 64,
    outputs: Outputs | None = None,
    name: str = "vqa",
) -> CustomVQA:
    """Your own VQA network, ready for `explain`: `vqa(encoder=cnn, head=reader, answers=answers, tokenizer=words, unk=0)`.

    Args:
        encoder: `encoder(pixels)` gives a grid or tokens, as for `captioner`; its output is the tapped layer.
        head: `head(features, question)` gives logits `(b, len(answers))` from what the encoder gives and the question's ids
            `(b, q)`, right-padded with -1.
        answers: Answers in the order of the logits, or in any numbered form that `captioner` takes for words.
        tokenizer: The words that a question may have, in any form that `captioner` takes; a tokenizer of Hugging Face puts its
            start and end tokens around the question, as it does by itself.
        unk: Id of the words that `tokenizer` lacks; None: they are an error.
        layout: What the axes of the encoder's output are, as for `captioner`. None: they are measured.
        head_input_layer: Pooling or linear module of the head that alone reads the features; evidence gets faster.
        question_layer: Embedding of the head, whose output `(b, q, d)` gives each word of the question its share.
        preprocess, image_size, placement, raw, regions: As for `captioner`.
        max_words: Longest question in tokens.
        outputs: What the head gives: `logits`, `log_probs`, `probabilities`, or `sigmoid` for a probability of its own for each
            answer. None: noticed, and said where it is not logits.
        name: Name in records and pages.

    Returns:
        A `TaskAdapter`.

    Raises:
        TypeError, ValueError: The `tokenizer` or `answers` are of no kind that can be read, or two of their words share an id.
    """
    return CustomVQA(
        unwrapped(encoder, "encoder"),
        unwrapped(head, "head"),
        Labels(label_names(answers, "answers", "answer")),
        tokenizer_of(tokenizer, unk, special_tokens=True),
        ImagePreprocessing(preprocess, image_size, placement, raw, regions),
        layout=layout,
        head_input_layer=head_input_layer,
        question_layer=question_layer,
        max_words=max_words,
        outputs=outputs,
        name=name,
    )
