"""`vqa`: what five answers of a question cost, and many questions; `answers`: how good they are, and where their maps peak."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from captioners import photo
from measuring import Measurement, Section, medians, milliseconds
from quality import UNPACKED, folder, progress
from torch import Tensor, nn
from torchvision import models

import multimodal_cam as mc
from multimodal_cam.adapters.bundled import LSTMQAdapter
from multimodal_cam.adapters.labels import Labels
from multimodal_cam.data.questions import Question, read_questions
from multimodal_cam.evaluation.answer_accuracy import evaluate_answer_pointing, evaluate_answers
from multimodal_cam.evaluation.caption_quality import Localisation
from multimodal_cam.models.lstm_q import LSTMQ, LSTMQConfig
from multimodal_cam.models.vocabulary import SPECIALS, Vocabulary

ANSWERS = [f"answer{i}" for i in range(1000)]  # as many as Antol et al. have
WORDS = [*SPECIALS, *(f"word{i}" for i in range(500))]
QUESTION = " ".join(WORDS[10:16])
BATCH = 32
AIMS = {"resnet50": "1.3", "lstm-q": "1.6"}


class Head(nn.Module):
    """What people write: mean cell, L2 norm, times the question's LSTM, a classifier."""

    def __init__(self, channels: int = 2048, width: int = 512) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.image = nn.Linear(channels, width)
        self.embedding = nn.Embedding(len(WORDS), 256)
        self.lstm = nn.LSTM(256, width, batch_first=True)
        self.readout = nn.Linear(width, len(ANSWERS))

    def forward(self, features: Tensor, question: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(question.clamp(min=0)))
        last = states[torch.arange(len(states)), (question >= 0).sum(dim=1) - 1]
        image = nn.functional.normalize(self.pool(features).flatten(1), dim=1)
        logits: Tensor = self.readout(torch.tanh(self.image(image)) * last)
        return logits


def resnet50() -> Any:
    """ResNet-50, tapped at `layer4`; random weights."""
    torch.manual_seed(0)
    encoder, head = nn.Sequential(*list(models.resnet50(weights=None).children())[:-2]), Head()
    return mc.vqa(
        encoder=encoder.eval(),
        head=head.eval(),
        answers=ANSWERS,
        tokenizer=WORDS,
        head_input_layer=head.pool,
        question_layer=head.embedding,
        name="resnet50",
    )


def lstm_q() -> Any:
    """The network of `lstm-q` with random weights: times do not depend on them."""
    torch.manual_seed(0)
    network = LSTMQ(LSTMQConfig(len(WORDS), len(ANSWERS))).eval()
    return LSTMQAdapter(network, Vocabulary(tuple(WORDS)), Labels(ANSWERS))


def against_forward(repeat: int, **_: Any) -> Iterator[Measurement]:
    image = photo()
    for model in (lstm_q(), resnet50()):
        times = medians(
            {
                "forward": lambda m=model: _forward(m, [image]),
                "grad_cam": lambda m=model: mc.explain(m, image, question=QUESTION, method="grad_cam").answer_maps,
                "evidence": lambda m=model: mc.explain(m, image, question=QUESTION, method="evidence").answer_maps,
            },
            3 * repeat,
        )
        for method in ("grad_cam", "evidence"):
            notes = {"explain": milliseconds(times[method]), "forward": milliseconds(times["forward"])}
            aim = f"<= {AIMS[model.name]}" if method == "grad_cam" else ""
            yield Measurement(
                f"{model.name} {method}, 5 answers", {"ratio": f"{times[method] / times['forward']:.2f}"}, notes | {"aim": aim}
            )


def many_questions(repeat: int, **_: Any) -> Iterator[Measurement]:
    images, model = [photo(seed) for seed in range(BATCH)], lstm_q()
    same = [images[0]] * BATCH
    questions = [" ".join(WORDS[10 + i : 16 + i]) for i in range(BATCH)]
    work: dict[str, Callable[[], Any]] = {
        "forward, a photo each": lambda: _forward(model, images),
        "explained, a photo each": lambda: mc.explain(model, images, question=questions),
        "explained, one photo": lambda: mc.explain(model, same[0], question=questions),
    }
    for name, seconds in medians(work, repeat).items():
        yield Measurement(f"{model.name} {BATCH} questions, {name}", {"questions a second": f"{BATCH / seconds:.1f}"})


def _forward(model: Any, images: list[Any]) -> Tensor:
    """One plain pass from the same PIL images that `explain` gets; no graph."""
    with torch.no_grad():
        inputs = model.preprocess(images, [QUESTION] * len(images))
        logits: Tensor = model.logits(inputs, torch.zeros(len(images), 1, dtype=torch.long))
    return logits


# ---- with the trained model --------------------------------------------------------------------------------


def answers(vqa_model: str, data: Path, photos: int | None, **_: Any) -> Iterator[Measurement]:
    known, asked = _questions(data)
    images = folder(data, "images", "images.tar")
    found = evaluate_answers(mc.load(vqa_model), images, _first(asked, photos), known, progress=progress("answers"))
    for kind, row in found.items():
        gain = f"{100 * (row.model - row.question_only):+.1f}"
        values = {
            "accuracy": row.model,
            "commonest": row.commonest,
            "question-only": row.question_only,
            "photo-only": row.photo_only,
        }
        shown = {name: f"{value:.3f}" for name, value in values.items()} | {"points-above-question-only": gain}
        yield Measurement(f"answers {kind}", shown, {"questions": str(row.count), "aim": ">= +10" if kind == "all" else ""})


def pointing(vqa_model: str, data: Path, photos: int | None, **_: Any) -> Iterator[Measurement]:
    _, asked = _questions(data)
    images = folder(data, "images", "images.tar")
    found = evaluate_answer_pointing(mc.load(vqa_model), images, _first(asked, photos), progress=progress("pointing"))
    for row in found.hits:
        yield Measurement(f"pointing {row}", _shares(found, row))
    counts = {kind: str(found.kinds.count(kind)) for kind in sorted(set(found.kinds))}
    yield Measurement("pointing targets", {"all": str(len(found.off)), "off-centre": str(int(found.off.sum()))} | counts)


def _shares(found: Localisation, row: str) -> dict[str, str]:
    shares = {"all": found.pointing(row), "off-centre": found.pointing(row, off_centre=True)}
    shares |= {kind: found.pointing(row, kind=kind) for kind in sorted(set(found.kinds))}
    return {name: f"{share:.3f}" for name, share in shares.items()}


def _first(questions: list[Question], photos: int | None) -> list[Question]:
    """The questions about the first so many photos."""
    kept = set(list(dict.fromkeys(question.image for question in questions))[:photos])
    return [question for question in questions if question.image in kept]


def _questions(data: Path) -> tuple[list[Question], list[Question]]:
    """The questions of both splits; made once, into out/."""
    file = UNPACKED / "questions.jsonl"
    if not file.exists():
        print(f"making questions into {file}", file=sys.stderr)
        make(data, file)
    found = list(read_questions(file))
    return [q for q in found if q.split == "train"], [q for q in found if q.split == "dev"]


def make(data: Path, file: Path) -> None:
    """`multimodal-cam data make-questions` on both splits."""
    from multimodal_cam.cli.app import app

    entities = folder(data, "flickr30k_entities", "flickr30k_entities.tar.gz")
    splits = [f"--split={data / name}" for name in ("train_images.txt", "dev_images.txt")]
    arguments = [
        "data",
        "make-questions",
        f"--captions={data / 'captions.txt'}",
        f"--entities={entities}",
        *splits,
        f"--out={file}",
    ]
    app(arguments, standalone_mode=False)


COST_SECTION = Section(
    "Five answers of one question",
    "The maps of the five likeliest answers of a question, the reliance and the shares of the question's words, divided by one "
    "forward pass (encoder, question and answers under `no_grad`). Both sides start at the same PIL photo of 500 x 375. Random "
    "weights, 1,000 answers, a question of 6 words. Medians of interleaved repetitions.",
    against_forward,
)
QUESTIONS_SECTION = Section(
    "Many questions",
    "Grad-CAM of the five likeliest answers of each question, from PIL photos on; several questions about one photo share its "
    "backbone pass.",
    many_questions,
)
ANSWERS_SECTION = Section(
    "Answers",
    "`lstm-q` on the questions that `data make-questions` makes of Flickr8k's dev split. `commonest`: the commonest answer of "
    "the type among the training questions; `question-only`: the same network, the photo's features replaced by their mean; "
    "`photo-only`: the same network, the question replaced by the mean question, choosing among the type's answers.",
    answers,
)
POINTING_SECTION = Section(
    "Pointing of answers",
    "The pointing game on dev questions that have boxes and are answered right: the map of the answer, of the second answer, of "
    "the photo's other questions (those with other boxes, the mean over them), and controls that know neither.",
    pointing,
)
