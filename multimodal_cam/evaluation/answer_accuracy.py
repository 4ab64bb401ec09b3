"""Accuracy of a VQA model on questions with known answers, beside baselines that see less."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..adapters.contract import RunsWithoutQuestion, TaskAdapter, reads_raw, tap_layer
from ..core.call_scope import evaluation_mode
from ..core.images import load_image
from ..data.readers.question_record import Question
from ..metrics.vqa_accuracy import exact_accuracy, soft_accuracy
from .caption_quality import Progress, batches, silent

ROWS = 128  # questions in a batch


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of `count` questions of one type, 0 to 1.

    `commonest`: always the answer that is commonest among the training questions of the type. `question_only`: the same network
    without a photo (A0 in the layer's place). `photo_only`: the same network without the question, choosing among the type's
    answers; NaN for models that cannot do without one.
    """

    count: int
    model: float
    commonest: float
    question_only: float
    photo_only: float


def evaluate_answers(
    model: TaskAdapter,
    images: Path,
    questions: Sequence[Question],
    known: Iterable[Question],
    *,
    progress: Progress = silent,
) -> dict[str, Accuracy]:
    """Accuracies by type, then of `all`. `known` are the training questions, from which the commonest answers are taken.

    Right is an answer equal to the question's (`exact_accuracy`), or as many people as gave it say (`soft_accuracy`).
    """
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for question in known:
        answers[question.type][question.answer] += 1
    found: dict[str, list[list[float]]] = defaultdict(list)
    done = 0
    with torch.no_grad(), evaluation_mode(model.module):
        for batch, said in _answered(model, images, questions, answers):
            for question, texts in zip(batch, said, strict=True):
                found[question.type].append([_right(text, question) for text in texts])
            done += len(batch)
            progress(done, len(questions))
    table = {kind: _accuracy(rows) for kind, rows in sorted(found.items())}
    return table | {"all": _accuracy([row for rows in found.values() for row in rows])}


def _answered(
    model: TaskAdapter, images: Path, questions: Sequence[Question], answers: Mapping[str, Counter[str]]
) -> Iterator[tuple[Sequence[Question], list[tuple[str | None, ...]]]]:
    """Yield batches of questions with their answers: of the model, the commonest, without the photo, without the question."""
    allowed = {kind: model.tokenize([a for a in counts if _can_say(model, a)])[:, 0] for kind, counts in answers.items()}
    for batch in batches(questions, ROWS):
        loaded = {name: load_image(images / name, raw=reads_raw(model)) for name in {question.image for question in batch}}
        inputs = model.preprocess([loaded[q.image] for q in batch], [q.question for q in batch])
        blank = torch.zeros(len(batch), 1, dtype=torch.long, device=inputs.pixels.device)
        with tap_layer(model, inputs) as tap:
            said = model.logits(inputs, blank)[:, 0]
        shape = (len(batch), *tap.activations.shape[1:])
        blind = model.logits(inputs, blank, model.baseline_activations(inputs).expand(shape))[:, 0]
        columns = [_texts(model, said.argmax(dim=1)), [_commonest(answers, q) for q in batch], _texts(model, blind.argmax(dim=1))]
        if isinstance(model, RunsWithoutQuestion):
            unasked = model.logits_without_question(inputs)
            kept = [_only(row, allowed.get(q.type)) for row, q in zip(unasked, batch, strict=True)]
            columns.append(_texts(model, torch.stack(kept).argmax(dim=1)))
        else:
            columns.append([None] * len(batch))
        yield batch, list(zip(*columns, strict=True))


def _texts(model: TaskAdapter, ids: Tensor) -> list[str | None]:
    return list(model.tokens(ids.tolist()))


def _commonest(answers: Mapping[str, Counter[str]], question: Question) -> str | None:
    counts = answers.get(question.type)
    return counts.most_common(1)[0][0] if counts else None


def _only(logits: Tensor, allowed: Tensor | None) -> Tensor:
    if allowed is None or not len(allowed):
        return logits
    return torch.full_like(logits, -torch.inf).index_copy(0, allowed, logits[allowed])


def _can_say(model: TaskAdapter, answer: str) -> bool:
    try:
        model.tokenize([answer])
    except ValueError:
        return False
    return True


def _right(text: str | None, question: Question) -> float:
    if text is None:
        return float("nan")
    return soft_accuracy(text, question.answers) if question.answers else exact_accuracy(text, question.answer)


def _accuracy(rows: Sequence[Sequence[float]]) -> Accuracy:
    return Accuracy(len(rows), *torch.tensor(rows).mean(dim=0).tolist())
