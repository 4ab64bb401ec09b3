"""How good a VQA model is on questions with known answers: accuracy beside what knows less, and where its answers' maps peak."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .._explain import explain
from ..adapters.contract import RunsWithoutQuestion, TaskAdapter
from ..core.cut_model import tap_layer
from ..core.hooks import evaluating
from ..core.images import load_image
from ..data.questions import Question
from ..metrics.localization import off_centre, points_at, points_at_centre
from ..metrics.vqa_accuracy import exact_accuracy, soft_accuracy
from ..results.explanation import Explanation
from .caption_quality import Localisation, Progress, batches, extend, silent

ROWS = 128  # questions that run together


# ---- answers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accuracy:
    """The accuracies of `count` questions of one type, 0 to 1.

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
    """Type -> its accuracies, then `all`. `known` are the questions of the training split, for the commonest answers.

    Right is an answer equal to the question's (`exact_accuracy`), or as many people as gave it say (`soft_accuracy`).
    """
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for question in known:
        answers[question.type][question.answer] += 1
    found: dict[str, list[list[float]]] = defaultdict(list)
    done = 0
    with torch.no_grad(), evaluating(model.module):
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
    """Batches of questions with what is said to each: by the model, the commonest answer, without photo, without question."""
    allowed = {kind: model.tokenize([a for a in counts if _can_say(model, a)])[:, 0] for kind, counts in answers.items()}
    for batch in batches(questions, ROWS):
        loaded = {name: load_image(images / name) for name in {question.image for question in batch}}
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


# ---- where their maps peak ---------------------------------------------------------------------------------


def evaluate_answer_pointing(
    model: TaskAdapter,
    images: Path,
    questions: Sequence[Question],
    *,
    methods: Sequence[str] = ("grad_cam", "evidence"),
    progress: Progress = silent,
) -> Localisation:
    """The pointing game on the questions that have boxes and that the model answers right; `kinds` are the questions' types.

    Rows, for each of `methods`: `<method> answer`, the map of the answer; `<method> second answer`, of the likeliest other one;
    `<method> other question`, the mean over the maps of the photo's other such questions whose boxes differ (does the map move
    with the question?); then `mean activation` and `image centre`, which know neither question nor answer.
    """
    left_out: Counter[str] = Counter()
    hits: dict[str, list[float]] = {}
    off: list[bool] = []
    kinds: list[str] = []
    photos: dict[str, list[Question]] = {}
    for question in questions:
        if question.boxes:
            photos.setdefault(question.image, []).append(question)
        else:
            left_out["no box"] += 1
    for done, (name, asked) in enumerate(photos.items(), start=1):
        path = images / name
        found = {m: explain(model, [path] * len(asked), question=[q.question for q in asked], method=m) for m in methods}
        right = [
            i for i, (q, e) in enumerate(zip(asked, found[methods[0]], strict=True)) if exact_accuracy(e.text, q.answer) == 1
        ]
        left_out["wrong answer"] += len(asked) - len(right)
        for method, explanations in found.items():
            extend(hits, _answer_hits([explanations[i] for i in right], [asked[i] for i in right], method))
        extend(hits, _controls(model, path, [asked[i] for i in right]))
        off += [off_centre(asked[i].boxes) for i in right]
        kinds += [asked[i].type for i in right]
        progress(done, len(photos))
    return Localisation({row: torch.tensor(h) for row, h in hits.items()}, torch.tensor(off), left_out, tuple(kinds))


def _answer_hits(explanations: Sequence[Explanation], questions: Sequence[Question], method: str) -> dict[str, list[float]]:
    hits: dict[str, list[float]] = {f"{method} {row}": [] for row in ("answer", "second answer", "other question")}
    for e, question in zip(explanations, questions, strict=True):
        frame, boxes = e.placement.frame, question.boxes
        assert e.alternative_maps is not None
        others = [o.maps[0] for o, q in zip(explanations, questions, strict=True) if q.boxes != boxes]
        elsewhere = [float(points_at(map, boxes, frame)) for map in others]
        hits[f"{method} answer"].append(float(points_at(e.maps[0], boxes, frame)))
        hits[f"{method} second answer"].append(float(points_at(e.alternative_maps[0, 0], boxes, frame)))
        hits[f"{method} other question"].append(sum(elsewhere) / len(elsewhere) if elsewhere else float("nan"))
    return hits


def _controls(model: TaskAdapter, path: Path, questions: Sequence[Question]) -> dict[str, list[float]]:
    if not questions:
        return {}
    inputs = model.preprocess([load_image(path)], [questions[0].question])
    with torch.no_grad(), evaluating(model.module), tap_layer(model, inputs) as tap:
        model.logits(inputs, torch.zeros(1, 1, dtype=torch.long, device=inputs.pixels.device))
    map, frame = tap.activations[0].float().mean(dim=0).cpu(), inputs.placements[0].frame
    return {
        "mean activation": [float(points_at(map, q.boxes, frame)) for q in questions],
        "image centre": [float(points_at_centre(q.boxes)) for q in questions],
    }
