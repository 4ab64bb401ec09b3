"""Training of the bundled VQA models: `lstm-q`, and its twin with attention, `san`.

Recipe: cross-entropy of the answer (AdamW, warm-up, cosine schedule), dropout, horizontal flips (except where a question or its
answer says left or right), and an exponential moving average of the weights as the result. The projection of the cells starts
from the captioner's, which already relates cells to words.
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

from ...core.images import load_image
from ...data.readers.question_record import Question
from ..bundle import load_model, model_folder, save_model, specs_of_task
from ..captioner import Captioner
from ..encoder import Encoder, to_pixels
from ..vocabulary import Vocabulary, split_question, split_words
from ..vqa_network import VQANetwork
from .familiarity_training import fit_after_training
from .feature_cache import Progress, cache_features
from .training_folder import in_training_folder
from .training_run import (
    TrainingRun,
    discard_checkpoint,
    is_finished,
    mean_cell,
    missing_photos,
    pad,
    refuse_empty,
    refuse_wordless,
    round_to_half,
)

NETWORKS = specs_of_task("vqa")  # what `train vqa --network` takes
ANSWERS_KEPT = 32  # answers to a question about each of so many dev photos, saved for tests of the weights file
NOT_AN_ANSWER = -1


@dataclass(frozen=True)
class VQAOptions:
    epochs: int = 12
    batch_size: int = 32  # photos, each with all its questions
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    dropout: float = 0.5
    average: float = 0.998  # decay of the moving average, a step
    min_count: int = 3  # rarer words of questions become <unk>
    min_answers: int = 8  # rarer answers are no class
    width: int = 512
    embedding: int = 256
    hidden: int = 256
    train_size: int = 320  # input pixels
    train_stride: int = 32
    size: int = 448  # of the saved network, as the two that follow; the weights are the same
    stride: int = 16
    smoothing: int = 4  # of networks that read the mean cell alone
    encoder: str = "nic"  # captioner whose encoder and cells are reused
    network: str = "lstm-q"
    seed: int = 0


@dataclass(frozen=True)
class QuestionCorpus:
    """Cached features of the photos of one split, and their questions; answers that are no class are -1."""

    features: np.ndarray  # (photos, views, c, h, w) float16; view 1 is mirrored
    questions: list[list[list[int]]]
    answers: list[list[int]]
    mirrors: list[bool]  # whether all questions of the photo hold for the mirrored one

    @classmethod
    def build(
        cls, features: np.ndarray, photos: Sequence[Sequence[Question]], vocabulary: Vocabulary, answers: Sequence[str]
    ) -> QuestionCorpus:
        classes = {answer: i for i, answer in enumerate(answers)}
        return cls(
            features,
            [[vocabulary.encode(split_question(q.question)) for q in photo] for photo in photos],
            [[classes.get(q.answer, NOT_AN_ANSWER) for q in photo] for photo in photos],
            [not any({"left", "right"} & {*split_words(q.question), *split_words(q.answer)} for q in photo) for photo in photos],
        )


def batches(corpus: QuestionCorpus, options: VQAOptions, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield shuffled batches: features `(p, c, h, w)`, photo of each question `(m,)`, questions `(m, q)`, answers `(m,)`."""
    rng = np.random.default_rng((options.seed, epoch))
    order = rng.permutation([i for i, answers in enumerate(corpus.answers) if max(answers, default=NOT_AN_ANSWER) >= 0])
    for start in range(0, len(order), options.batch_size):
        chosen = order[start : start + options.batch_size].tolist()
        views = [int(corpus.features.shape[1] > 1 and corpus.mirrors[i] and rng.random() < 0.5) for i in chosen]
        yield collect(corpus, chosen, views)


def collect(corpus: QuestionCorpus, chosen: Sequence[int], views: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch of the photos `chosen`, with all questions whose answer is a class."""
    features = torch.from_numpy(np.stack([corpus.features[i, v] for i, v in zip(chosen, views, strict=True)])).float()
    rows = [
        (row, question, answer)
        for row, i in enumerate(chosen)
        for question, answer in zip(corpus.questions[i], corpus.answers[i], strict=True)
        if answer >= 0
    ]
    photo, questions, answers = zip(*rows, strict=True)
    return features, torch.tensor(photo), pad(questions), torch.tensor(answers)


def answer_logits(model: VQANetwork, features: Tensor, photo: Tensor, questions: Tensor) -> Tensor:
    """Logits `(m, answers)`. Each photo is projected once, and a question shared by several photos is read once."""
    context = model.context(model.project(features))
    distinct, which = torch.unique(questions, dim=0, return_inverse=True)
    return model.answer(context[photo], model.read(distinct)[which])


@torch.no_grad()
def dev_measures(model: VQANetwork, corpus: QuestionCorpus, device: torch.device) -> dict[str, float]:
    """Loss in nats an answer, over the questions whose answer is a class, and accuracy over all questions."""
    model.eval()
    loss, right, classes, count = 0.0, 0, 0, sum(map(len, corpus.answers))
    photos = [i for i, answers in enumerate(corpus.answers) if max(answers, default=NOT_AN_ANSWER) >= 0]
    for start in range(0, len(photos), 64):
        chosen = photos[start : start + 64]
        features, photo, questions, answers = (x.to(device) for x in collect(corpus, chosen, [0] * len(chosen)))
        logits = answer_logits(model, features, photo, questions)
        loss += F.cross_entropy(logits, answers, reduction="sum").item()
        right += int((logits.argmax(dim=1) == answers).sum())
        classes += len(answers)
    if classes == 0:
        raise ValueError("no dev question has an answer that is a class: lower min_answers, or take other dev questions")
    return {"dev": loss / classes, "accuracy": right / count}


def train_epoch(run: TrainingRun, train: QuestionCorpus, number: int, device: torch.device, progress: Progress) -> float:
    """Train for one epoch; returns the mean loss in nats an answer."""
    model, options = run.model, run.options
    assert isinstance(model, VQANetwork)
    model.train()
    total, count, steps = 0.0, 0, math.ceil(len(train.answers) / options.batch_size)
    for step, batch in enumerate(batches(train, options, number), start=1):
        features, photo, questions, answers = (x.to(device) for x in batch)
        loss = F.cross_entropy(answer_logits(model, features, photo, questions), answers)
        run.step(loss)
        total, count = total + run.finite_loss(loss) * len(answers), count + len(answers)
        progress(f"epoch {number + 1}", step, steps, f"train {total / count:.3f}")
    return total / count


def answer_classes(questions: Sequence[Question], min_answers: int) -> tuple[str, ...]:
    """Answers given at least `min_answers` times, the most frequent first, ties in alphabetical order."""
    counts = Counter(question.answer for question in questions)
    return tuple(sorted((a for a, n in counts.items() if n >= min_answers), key=lambda a: (-counts[a], a)))


@in_training_folder
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
    """Train a VQA model and write `out/model.safetensors`, `out/config.json` and `out/log.jsonl`; returns `out`.

    An interrupted run resumes after its last finished epoch when it is called again; a finished one is left as it is.

    Raises ValueError if fewer than two answers are frequent enough to be classes, no word is frequent enough, or the loss
    diverges, BlockingIOError while another process trains into `out`, and OSError for a disk without room.
    """
    photos = {"train": by_photo(train), "dev": by_photo(dev)}
    missing_photos(images, [*photos["train"], *photos["dev"]])
    answers = answer_classes(train, options.min_answers)
    if len(answers) < 2:
        raise ValueError(f"expected at least 2 answers that occur {options.min_answers} times or more, got {len(answers)}")
    refuse_empty(train=train, dev=dev)
    vocabulary = Vocabulary.from_captions((q.question for q in train), options.min_count)
    refuse_wordless(vocabulary, options.min_count)
    if not is_finished(out, options):
        _train(images, photos, out, vocabulary, answers, options, device, progress)
    fit_after_training(out, images, list(photos["train"]), list(photos["dev"]), device, progress)
    discard_checkpoint(out)
    return out


def _train(
    images: Path,
    photos: Mapping[str, Mapping[str, Sequence[Question]]],
    out: Path,
    vocabulary: Vocabulary,
    answers: tuple[str, ...],
    options: VQAOptions,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train and write into `out`, which this process holds; `photos` are the questions of train and dev by their photo."""
    lender = load_model(model_folder(options.encoder))
    torch.manual_seed(options.seed)
    model = new_network(options, lender.network, len(vocabulary), len(answers)).to(device)
    encoder = Encoder(model.config.encoder, options.train_stride).to(device)
    encoder.load_state_dict(model.encoder.state_dict())

    def corpus(questions: Mapping[str, Sequence[Question]], views: int) -> QuestionCorpus:
        paths, size = [images / name for name in questions], model.config.image_size
        features = cache_features(encoder, paths, out / "cache", size=size, views=views, progress=progress)
        return QuestionCorpus.build(features, list(questions.values()), vocabulary, answers)

    train_corpus, dev_corpus = corpus(photos["train"], 2), corpus(photos["dev"], 1)
    learned = [p for p in model.parameters() if p.requires_grad]
    run = TrainingRun(
        model, options, math.ceil(len(photos["train"]) / options.batch_size), [{"params": learned, "lr": options.learning_rate}]
    )
    averaged = type(model)(model.config).to(device)

    def measure() -> dict[str, float]:
        averaged.load_state_dict(run.average)
        return dev_measures(averaged, dev_corpus, device)

    run.train(out, lambda number: train_epoch(run, train_corpus, number, device, progress), measure, progress)
    final = averaged_network(run, model, train_corpus)
    said = [answer(final, images, questions[0], vocabulary, answers) for questions in list(photos["dev"].values())[:ANSWERS_KEPT]]
    (out / "answers.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
    trained = asdict(options) | {"history": run.history}
    save_model(final, vocabulary, out, training=trained, answers=answers, encoder=options.encoder)


def new_network(options: VQAOptions, lender: Captioner, words: int, answers: int) -> VQANetwork:
    """Untrained network with the lender's frozen encoder and, if the widths agree, a copy of its projection of the cells."""
    spec = NETWORKS[options.network]
    own_options = {name: getattr(options, name) for name in spec.config_options}
    config = spec.config(
        words,
        answers,
        lender.config.encoder,
        options.train_stride,
        options.train_size,
        options.width,
        options.embedding,
        options.hidden,
        options.dropout,
        unit_cells=lender.config.unit_cells,
        **own_options,
    )
    model = spec.network(config)
    assert isinstance(model, VQANetwork)
    model.encoder.load_state_dict(lender.encoder.state_dict())
    model.encoder.requires_grad_(False)
    if model.config.width == lender.config.width:
        model.project.load_state_dict(lender.project.state_dict())
        model.project.requires_grad_(not lender.config.unit_cells)  # cells that know words from places stay as they are
    return model


def averaged_network(run: TrainingRun, model: VQANetwork, corpus: QuestionCorpus) -> VQANetwork:
    """Network to save: averaged weights, sizes of inference, baselines from the training photos and questions."""
    device, options = model.baseline.device, run.options
    smoothing = options.smoothing if model.reads_mean_cell else 0
    config = replace(model.config, output_stride=options.stride, image_size=options.size, smoothing=smoothing)
    final = type(model)(config).to(device).eval()
    final.load_state_dict(run.average)
    final.baseline.copy_(mean_cell(cells_of(final, corpus, device)))
    final.no_question.copy_(mean_question(final, corpus, device))
    round_to_half(final)
    return final


def by_photo(questions: Sequence[Question]) -> dict[str, list[Question]]:
    """Questions of each photo, in the given order."""
    photos: dict[str, list[Question]] = {}
    for question in questions:
        photos.setdefault(question.image, []).append(question)
    return photos


def answer(model: VQANetwork, images: Path, question: Question, vocabulary: Vocabulary, answers: Sequence[str]) -> dict[str, Any]:
    """The network's answer to a question, as a JSON record."""
    with torch.no_grad():
        pixels = to_pixels([load_image(images / question.image)], model.config.image_size).to(model.baseline)
        ids = torch.tensor([vocabulary.encode(split_question(question.question))], device=pixels.device)
        best = int(model(pixels, ids)[0].argmax())
    return {"image": question.image, "question": question.question, "answer": answers[best]}


@torch.no_grad()
def cells_of(model: VQANetwork, corpus: QuestionCorpus, device: torch.device) -> Iterator[Tensor]:
    """Yield the projected cells of the photos, not mirrored, in batches `(b, d, h, w)`."""
    for start in range(0, len(corpus.features), 64):
        yield model.project(torch.from_numpy(corpus.features[start : start + 64, 0]).float().to(device))


@torch.no_grad()
def mean_question(model: VQANetwork, corpus: QuestionCorpus, device: torch.device) -> Tensor:
    """Mean encoding of the training questions, `(2 hidden,)`."""
    counts = Counter(tuple(question) for photo in corpus.questions for question in photo)
    distinct = list(counts)
    total = torch.zeros_like(model.no_question)
    for start in range(0, len(distinct), 256):
        part = distinct[start : start + 256]
        weights = torch.tensor([float(counts[question]) for question in part], device=device)
        total += weights @ model.read(pad(part).to(device))
    return total / counts.total()
