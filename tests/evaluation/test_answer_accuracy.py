"""evaluation/answer_accuracy.py on a planted network: the answer is the colour of the quadrant that the question names."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import COLOURS, planted_vqa, quadrant_image

from multimodal_cam.data.readers.question_record import Question
from multimodal_cam.evaluation.answer_accuracy import evaluate_answers

BOXES = {"top left": (0, 0), "top right": (0.5, 0), "bottom left": (0, 0.5), "bottom right": (0.5, 0.5)}


def ask(place: str, answer: str, boxes: bool = True) -> Question:
    x, y = BOXES[place]
    return Question("a.png", f"what colour is {place}?", answer, "colour", boxes=((x, y, x + 0.5, y + 0.5),) if boxes else ())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    quadrant_image().save(tmp_path / "a.png")
    return tmp_path


def test_accuracies_by_hand(images: Path) -> None:
    right = [ask(place, colour) for place, colour in zip(BOXES, COLOURS, strict=True)]
    wrong = [ask("top left", "white"), Question("a.png", "is top left?", "purple", "yes/no")]
    known = [*right, ask("top left", "white"), Question("a.png", "is it?", "purple", "yes/no")]
    found = evaluate_answers(planted_vqa(), images, [*right, *wrong], known)
    colour = found["colour"]
    assert (colour.count, colour.model) == (5, pytest.approx(0.8))
    assert colour.commonest == pytest.approx(0.4)  # white is the commonest, and right for two
    assert colour.question_only == pytest.approx(0.4)  # no photo is a mean colour, rather white
    assert colour.photo_only != colour.photo_only  # NaN: this network cannot do without a question
    assert (found["yes/no"].model, found["yes/no"].commonest) == (0.0, 1.0)
    assert found["all"].model == pytest.approx(4 / 6)


def test_several_people_make_the_soft_accuracy(images: Path) -> None:
    asked = Question("a.png", "what colour is top left?", "red", "colour", answers=("red",) * 2 + ("pink",) * 8)
    assert evaluate_answers(planted_vqa(), images, [asked], [asked])["all"].model == pytest.approx(0.6)
