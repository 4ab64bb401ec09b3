"""A batch of photos for one model: texts, their words, the targets, and the layer's activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ...adapters.contract import TaskAdapter, group_by_batch_key, tap_layer
from ...core.geometry import Placement
from ...core.spans import Span, join
from ..config import Settings
from ..sources.targets import (
    CaptionNoun,
    LeftOut,
    OpenedPhoto,
    PhotoText,
    WordTarget,
    answer_target,
    human_texts,
    nouns_of,
    parse_texts,
    questions_of,
    targets_of,
    words_of,
)
from .row_maps import TextRows, encode, text_rows


@dataclass(frozen=True)
class TextBatch:
    """Texts about photos, their words, and the targets as pairs `(text, target)`; for own captions also all nouns."""

    photos: Sequence[OpenedPhoto]
    texts: Sequence[PhotoText]
    words: Sequence[Sequence[Span]]
    rows: TextRows
    targets: Sequence[tuple[int, WordTarget]]
    nouns: Sequence[tuple[int, CaptionNoun]] = ()

    def scopes(self) -> Iterator[list[int]]:
        """Groups of targets that serve as each other's control: those of a caption, or of all questions about a photo."""
        found: dict[tuple[int, int], list[int]] = {}
        for i, (row, _) in enumerate(self.targets):
            text = self.texts[row]
            found.setdefault((text.photo, -1 if text.question else text.number), []).append(i)
        return iter(found.values())

    def spans(self, i: int) -> dict[str, Span]:
        """Explained spans of target `i`: its noun, and the whole phrase if that is longer."""
        row, target = self.targets[i]
        words = self.words[row]
        spans = {"word": words[target.head], "phrase": join(words[target.start : target.stop])}
        return {"word": spans["word"]} if self.texts[row].question else spans

    def placement(self, row: int) -> Placement:
        found = self.rows.inputs.placements[row]
        if found.boxes:
            raise ValueError("this model reads regions: the metrics of a study need a grid")
        return found


def prepare(model: TaskAdapter, photos: Sequence[OpenedPhoto], settings: Settings, left_out: LeftOut) -> TextBatch | None:
    """Prepare a batch; None if it holds nothing to explain."""
    if settings.task == "vqa":
        return _question_batch(model, photos)
    own = settings.own_captions
    texts = [PhotoText(i, 0) for i in range(len(photos))] if own else human_texts(photos, settings)
    if not texts:
        return None
    inputs = model.preprocess([photos[text.photo].image for text in texts])
    if own:
        ids, activations = _generate(model, inputs, beam=settings.beam)
    else:
        ids = model.tokenize([" ".join(text.words) for text in texts], "unk")
        activations = encode(model, inputs, ids)
    words = list(words_of(model, ids.tolist(), texts))
    docs = parse_texts([[word.text for word in own_words] for own_words in words])
    targets = [
        (i, target)
        for i, text in enumerate(texts)
        if words[i]
        for target in targets_of(photos[text.photo], text, words[i], docs[i], settings, left_out)
    ]
    nouns = [(i, noun) for i, text in enumerate(texts) if own for noun in nouns_of(photos[text.photo], words[i], docs[i])]
    if not targets and not nouns:
        return None
    rows = text_rows(model, inputs, ids, activations, _mapped_spans(words, targets))
    return TextBatch(photos, texts, words, rows, targets, nouns)


def _question_batch(model: TaskAdapter, photos: Sequence[OpenedPhoto]) -> TextBatch | None:
    texts = questions_of(photos)
    questions = [text.question for text in texts if text.question]
    _require_one_batch_key(model, [(photos[text.photo].image, text.question.question) for text in texts if text.question])
    inputs = model.preprocess([photos[text.photo].image for text in texts], [question.question for question in questions])
    ids, activations = _generate(model, inputs)
    words = list(words_of(model, ids.tolist(), texts))
    targets = [(i, answer_target(question)) for i, question in enumerate(questions)]
    return TextBatch(photos, texts, words, text_rows(model, inputs, ids, activations, _mapped_spans(words, targets)), targets)


def _mapped_spans(words: Sequence[Sequence[Span]], targets: Sequence[tuple[int, WordTarget]]) -> list[list[Span]]:
    """What maps are wanted of, text by text: words, the whole text, the phrases of targets."""
    found = [[*own, join(own)] if own else [] for own in words]
    for row, target in targets:
        found[row].append(join(words[row][target.start : target.stop]))
    return found


def _require_one_batch_key(model: TaskAdapter, rows: Sequence[tuple[Image, str | None]]) -> None:
    """Raise ValueError for a model that cannot batch all questions about a photo, which serve as each other's control."""
    if len(group_by_batch_key(model, rows)) > 1:
        raise ValueError(f"{model.name} takes prompts of one length at once, and the questions about a photo differ in theirs")


def _generate(model: TaskAdapter, inputs: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """The model's own captions, and the activations of each photo, which generation yields for free if the layer ran once."""
    with torch.no_grad(), tap_layer(model, inputs) as tap:
        ids = model.generate(inputs, **options)
    return ids, tap.activations if tap.calls == 1 else encode(model, inputs, ids)
