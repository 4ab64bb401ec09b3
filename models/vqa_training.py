"""Trains our VQA models: `lstm-q`, and its twin with attention, `san`.

Recipe: cross-entropy of the answer (AdamW, warm-up, cosine), dropout, horizontal flips (not where a question or its answer
says left or right), an exponential moving average of the weights as the result. The cells' projection starts from the
captioner's own, which already speaks about words.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.images import load_image
from ..data.questions import Question
from .bundle import load_model, model_folder, save_model
from .encoder import Encoder, to_pixels
from .features import Progress, cache_features
from .lstm_q import LSTMQ, LSTMQConfig, Reader
from .run import Run, mean_cell, missing_photos, pad, round_to_half
from .san import SAN, SANConfig
from .vocabulary import Vocabulary, split_question, split_words

NETWORKS: dict[str, tuple[type[Any], type[Any]]] = {"lstm-q": (LSTMQ, LSTMQConfig), "san": (SAN, SANConfig)}
ANSWERS_KEPT = 32  # of the dev photos, one question each: what the network said when it was trained, for tests of the files
NOT_AN_ANSWER = -1


@dataclass(frozen=True)
class VQAOptions:
    epochs: int = 12
    batch_size: int = 32  # photos, each with all its questions
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    dropout: float = 0.5
    average: float = 0.998  # decay of the moving average, a step
    min_count: int = 3  # of a question's word
    min_answers: int = 8  # rarer answers are no class
    width: int = 512
    embedding: int = 256
    hidden: int = 256
    train_stride: int = 32
    stride: int = 16  # of the network that is written; same weights
    encoder: str = "nic"  # the captioner whose encoder it is
    network: str = "lstm-q"
    seed: int = 0


@dataclass(frozen=True)
class Asked:
    """Photos of one split, cached features and their questions; answers outside the vocabulary are -1."""

    features: np.ndarray  # (photos, views, c, h, w) float16; view 1 is mirrored
    questions: list[list[list[int]]]
    answers: list[list[int]]
    mirrors: list[bool]  # whether all questions of the photo hold for the mirrored one

    @classmethod
    def build(
        cls, features: np.ndarray, photos: Sequence[Sequence[Question]], vocabulary: Vocabulary, answers: Sequence[str]
    ) -> Asked:
        classes = {answer: i for i, answer in enumerate(answers)}
        return cls(
            features,
            [[vocabulary.encode(split_question(q.question)) for q in photo] for photo in photos],
            [[classes.get(q.answer, NOT_AN_ANSWER) for q in photo] for photo in photos],
            [not any({"left", "right"} & {*split_words(q.question), *split_words(q.answer)} for q in photo) for photo in photos],
        )


def batches(asked: Asked, options: VQAOptions, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Shuffled photos: features `(p, c, h, w)`, the row of each question's photo `(m,)`, questions `(m, q)`, answers `(m,)`."""
    rng = np.random.default_rng((options.seed, epoch))
    order = rng.permutation([i for i, answers in enumerate(asked.answers) if max(answers, default=NOT_AN_ANSWER) >= 0])
    for start in range(0, len(order), options.batch_size):
        chosen = order[start : start + options.batch_size].tolist()
        views = [int(asked.features.shape[1] > 1 and asked.mirrors[i] and rng.random() < 0.5) for i in chosen]
        yield collect(asked, chosen, views)


def collect(asked: Asked, chosen: Sequence[int], views: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The photos `chosen` with all questions whose answer is a class."""
    features = torch.from_numpy(np.stack([asked.features[i, v] for i, v in zip(chosen, views, strict=True)])).float()
    rows = [
        (row, question, answer)
        for row, i in enumerate(chosen)
        for question, answer in zip(asked.questions[i], asked.answers[i], strict=True)
        if answer >= 0
    ]
    photo, questions, answers = zip(*rows, strict=True)
    return features, torch.tensor(photo), pad(questions), torch.tensor(answers)


def answer_logits(model: Reader, features: Tensor, photo: Tensor, questions: Tensor) -> Tensor:
    """Logits `(m, answers)`; a photo's cells, and a question that is asked of several photos, run once."""
    context = model.context(model.project(features))
    distinct, which = torch.unique(questions, dim=0, return_inverse=True)
    return model.answer(context[photo], model.read(distinct)[which])


@torch.no_grad()
def dev_measures(model: Reader, asked: Asked, device: torch.device) -> dict[str, float]:
    """Nats an answer, over the questions whose answer is a class, and the share of right answers, over all questions."""
    model.eval()
    loss, right, classes, count = 0.0, 0, 0, sum(map(len, asked.answers))
    photos = [i for i, answers in enumerate(asked.answers) if max(answers, default=NOT_AN_ANSWER) >= 0]
    for start in range(0, len(photos), 64):
        chosen = photos[start : start + 64]
        features, photo, questions, answers = (x.to(device) for x in collect(asked, chosen, [0] * len(chosen)))
        logits = answer_logits(model, features, photo, questions)
        loss += F.cross_entropy(logits, answers, reduction="sum").item()
        right += int((logits.argmax(dim=1) == answers).sum())
        classes += len(answers)
    return {"dev": loss / classes, "accuracy": right / count}


def train_epoch(run: Run, train: Asked, number: int, device: torch.device, progress: Progress) -> float:
    """One pass over the photos; the mean loss in nats an answer."""
    model, options = run.model, run.options
    assert isinstance(model, Reader)
    model.train()
    total, count, steps = 0.0, 0, math.ceil(len(train.answers) / options.batch_size)
    for step, batch in enumerate(batches(train, options, number), start=1):
        features, photo, questions, answers = (x.to(device) for x in batch)
        loss = F.cross_entropy(answer_logits(model, features, photo, questions), answers)
        run.step(loss)
        total, count = total + loss.item() * len(answers), count + len(answers)
        progress(f"epoch {number + 1}", step, steps, f"train {total / count:.3f}")
    return total / count


def answer_classes(questions: Sequence[Question], min_answers: int) -> tuple[str, ...]:
    """Answers given at least `min_answers` times, the most frequent first, ties in alphabetical order."""
    counts = Counter(question.answer for question in questions)
    return tuple(sorted((a for a, n in counts.items() if n >= min_answers), key=lambda a: (-counts[a], a)))


def train_vqa(
    *,
    images: Path,
    train: Sequence[Question],
    dev: Sequence[Question],
    out: Path,
    options: VQAOptions,
    device: torch.device,
    progress: Progress,
) -> Path:
    """Trains and writes `out/model.safetensors`, `out/config.json`, `out/log.jsonl`; returns `out`.

    Killed at any moment, the same call goes on after the last finished epoch. Raises ValueError when no answer is frequent
    enough to be a class.
    """
    lender = load_model(model_folder(options.encoder))
    photos = {"train": by_photo(train), "dev": by_photo(dev)}
    missing_photos(images, [*photos["train"], *photos["dev"]])
    answers = answer_classes(train, options.min_answers)
    if len(answers) < 2:
        raise ValueError(f"expected at least 2 answers that occur {options.min_answers} times or more, got {len(answers)}")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    vocabulary = Vocabulary.from_captions((q.question for q in train), options.min_count)
    network, config_of = NETWORKS[options.network]
    config = config_of(
        len(vocabulary),
        len(answers),
        lender.network.config.encoder,
        options.train_stride,
        lender.network.config.image_size,
        options.width,
        options.embedding,
        options.hidden,
        options.dropout,
    )
    model = network(config)
    model.encoder.load_state_dict(lender.network.encoder.state_dict())
    model.encoder.requires_grad_(False)
    if model.project[0].weight.shape == lender.network.project[0].weight.shape:
        model.project.load_state_dict(lender.network.project.state_dict())
    model.to(device)
    encoder = Encoder(config.encoder, options.train_stride).to(device)
    encoder.load_state_dict(model.encoder.state_dict())

    def asked(questions: Mapping[str, Sequence[Question]], views: int) -> Asked:
        paths, size = [images / name for name in questions], config.image_size
        features = cache_features(encoder, paths, out / "cache", size=size, views=views, progress=progress)
        return Asked.build(features, list(questions.values()), vocabulary, answers)

    train_asked, dev_asked = asked(photos["train"], 2), asked(photos["dev"], 1)
    learned = [p for p in model.parameters() if p.requires_grad]
    run = Run(
        model, options, math.ceil(len(photos["train"]) / options.batch_size), [{"params": learned, "lr": options.learning_rate}]
    )
    averaged = network(config).to(device)

    def measure() -> dict[str, float]:
        averaged.load_state_dict(run.average)
        return dev_measures(averaged, dev_asked, device)

    run.train(out, lambda number: train_epoch(run, train_asked, number, device, progress), measure, progress)
    final = network(replace(config, output_stride=options.stride)).to(device).eval()
    final.load_state_dict(run.average)
    final.baseline.copy_(mean_cell(cells_of(final, train_asked, device)))
    final.no_question.copy_(mean_question(final, train_asked, device))
    round_to_half(final)
    said = [answer(final, images, questions[0], vocabulary, answers) for questions in list(photos["dev"].values())[:ANSWERS_KEPT]]
    (out / "answers.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
    trained = asdict(options) | {"history": run.history}
    return save_model(final, vocabulary, out, training=trained, answers=answers, encoder=options.encoder)


def by_photo(questions: Sequence[Question]) -> dict[str, list[Question]]:
    """Photo name -> its questions, both in the order given."""
    photos: dict[str, list[Question]] = {}
    for question in questions:
        photos.setdefault(question.image, []).append(question)
    return photos


def answer(model: Reader, images: Path, question: Question, vocabulary: Vocabulary, answers: Sequence[str]) -> dict[str, Any]:
    """What the network answers to a question."""
    with torch.no_grad():
        pixels = to_pixels([load_image(images / question.image)], model.config.image_size).to(model.baseline)
        ids = torch.tensor([vocabulary.encode(split_question(question.question))], device=pixels.device)
        best = int(model(pixels, ids)[0].argmax())
    return {"image": question.image, "question": question.question, "answer": answers[best]}


@torch.no_grad()
def cells_of(model: Reader, asked: Asked, device: torch.device) -> Iterator[Tensor]:
    """What the network sees of the photos, not mirrored, in batches `(b, d, h, w)`."""
    for start in range(0, len(asked.features), 64):
        yield model.project(torch.from_numpy(asked.features[start : start + 64, 0]).float().to(device))


@torch.no_grad()
def mean_question(model: Reader, asked: Asked, device: torch.device) -> Tensor:
    """The mean of what the LSTM makes of the training questions `(2 hidden,)`."""
    counts = Counter(tuple(question) for photo in asked.questions for question in photo)
    distinct = list(counts)
    total = torch.zeros_like(model.no_question)
    for start in range(0, len(distinct), 256):
        part = distinct[start : start + 256]
        weights = torch.tensor([float(counts[question]) for question in part], device=device)
        total += weights @ model.read(pad(part).to(device))
    return total / counts.total()
