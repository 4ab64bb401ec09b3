"""Planted raters: the score finds each of them; broken files are named."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from raters import METHODS, class_study, guessing, perfect, reliability_study, saved_answers, write_lists

from multimodal_cam.core.errors import BrokenFile
from multimodal_cam.humanstudy.answer_files import read_answers
from multimodal_cam.humanstudy.rater_scores import score_answers
from multimodal_cam.humanstudy.study_key import read_key


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lists(class_study(photos=24), tmp_path_factory.mktemp("study"))


def scored(folder: Path, out: Path, **options: float):
    key = read_key(folder)
    return score_answers(key, read_answers([out], key), **options)


def always_left(rater: int, lists: int):
    turned = (rater - 1) // lists % 2
    return lambda name, question: len(question["options"]) - 1 if turned and len(question["options"]) == 2 else 0


def test_perfect_random_and_always_left(study: Path, tmp_path: Path) -> None:
    for rater in range(1, 7):
        saved_answers(study, rater, perfect, tmp_path)
    for rater in (7, 8, 9):
        saved_answers(study, rater, guessing(rater), tmp_path)
    for rater in (10, 13):
        saved_answers(study, rater, always_left(rater, len(METHODS)), tmp_path)
    scores = scored(study, tmp_path)
    assert [report.rater for report in scores.raters if not report.left_out] == [1, 2, 3, 4, 5, 6]
    left = {report.rater: report for report in scores.raters if report.left_out}
    assert {rater: report.leftmost for rater, report in left.items() if rater > 9} == {10: 1, 13: 1}
    assert left[10].left_out == left[13].left_out == "4 of 8 attention checks are right"
    assert left[10].accuracy == left[13].accuracy == 0.5
    assert [(one.condition, one.mean.value, one.alpha) for one in scores.conditions] == [(m, 1.0, 1.0) for m in METHODS]
    assert scores.alpha == 1


def test_a_condition_that_helps_less_is_found_with_its_interval(study: Path, tmp_path: Path) -> None:
    """Maps of `grad_cam` are read rightly at 90 %, the others at 55 %."""
    chance = random.Random(1)

    def choose(name, question):
        rate = 1 if question["check"] else 0.9 if question["conditions"] == ["grad_cam"] else 0.55
        return question["right"] if chance.random() < rate else 1 - question["right"]

    for rater in range(1, 25):
        saved_answers(study, rater, choose, tmp_path)
    scores = scored(study, tmp_path)
    found = {one.condition: one for one in scores.conditions}
    assert found["grad_cam"].mean.low < 0.9 < found["grad_cam"].mean.high
    assert found["zebra-cam"].mean.low < 0.55 < found["zebra-cam"].mean.high
    assert found["grad_cam"].mean.excludes(0.5)
    assert found["grad_cam"].alpha > found["zebra-cam"].alpha
    differences = {(one, other): interval for one, other, interval in scores.differences}
    assert differences["grad_cam", "zebra-cam"].low > 0
    assert not differences["guided_backprop", "zebra-cam"].excludes(0)
    assert found["grad_cam"].seconds == 2


def test_mean_reliability_is_of_the_model_wherever_it_stands(tmp_path: Path) -> None:
    folder = write_lists(reliability_study(), tmp_path / "study", "reliability")

    def choose(name, question):  # +1 for strong-net on half of the photos, +2 on the others
        if question["check"]:
            return question["right"]
        better = 1 + int(question["stimulus"].removesuffix(".jpg")) % 2
        return 2 - better if question["conditions"][0] == "strong-net" else 2 + better

    (tmp_path / "answers").mkdir()
    for rater in range(1, 5):
        saved_answers(folder, rater, choose, tmp_path / "answers")
    scores = scored(folder, tmp_path / "answers")
    assert scores.measure == "reliability"
    assert {one.condition: one.mean.value for one in scores.conditions} == {"strong-net": 1.5, "weak": -1.5}
    assert scores.differences == ()
    assert scores.alpha == 1
    assert all(math.isnan(report.accuracy) for report in scores.raters)


def test_of_raters_who_stopped_the_checks_so_far_decide(study: Path, tmp_path: Path) -> None:
    key = read_key(study)
    for rater, checks in ((1, 5), (2, 2)):
        file = saved_answers(study, rater, perfect, tmp_path)
        values = json.loads(file.read_text())
        asked = [entry for entry in values["answers"] if key.questions[entry["question"]].check]
        values["answers"] = [entry for entry in values["answers"] if entry not in asked][:9] + asked[:checks]
        file.write_text(json.dumps(values))
    first, second = scored(study, tmp_path).raters
    assert (first.answers, first.checks, first.left_out) == (9, 5, "")
    assert second.left_out == "only 2 of 8 attention checks are answered"


def test_no_rater_left_says_why(study: Path, tmp_path: Path) -> None:
    saved_answers(study, 1, always_left(1, 3), tmp_path)
    with pytest.raises(ValueError, match="no rater is left to be scored: rater 1: 4 of 8 attention checks are right"):
        scored(study, tmp_path)
    assert scored(study, tmp_path, share=0.5).conditions
    with pytest.raises(ValueError, match="expected a number from 0 to 1, got 80"):
        scored(study, tmp_path, share=80)


def test_two_files_of_one_rater_are_named(study: Path, tmp_path: Path) -> None:
    file = saved_answers(study, 3, perfect, tmp_path)
    (tmp_path / "copy.json").write_text(file.read_text())
    with pytest.raises(ValueError, match=r"are both of rater 3: leave the older one out"):
        scored(study, tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no answers in .*none: expected the files that raters saved"):
        scored(study, tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"study": "another"}, "expected study as .*, the study of the key, got 'another'"),
        ({"format": 2}, "expected format as 1"),
        ({"rater": 0}, "expected rater as an integer from 1"),
        ({"answers": {}}, "expected answers as a list"),
        ({"answers": [{"question": "q99999"}]}, "question as a question of the study, answered once"),
        ({"answers": "double"}, "question as a question of the study, answered once"),
        ({"answers": "choice"}, "choice as an integer from 0 to 1, got 7"),
    ],
)
def test_broken_answers_are_named(study: Path, tmp_path: Path, change, said) -> None:
    file = saved_answers(study, 1, perfect, tmp_path)
    values = json.loads(file.read_text())
    if change.get("answers") == "double":
        change = {"answers": values["answers"][:1] * 2}
    if change.get("answers") == "choice":
        change = {"answers": [values["answers"][0] | {"choice": 7}]}
    file.write_text(json.dumps(values | change))
    with pytest.raises(BrokenFile, match=said):
        scored(study, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 0}, "expected format as 1"),
        ({"task": "reliability"}, r"conditions as 2 of grad_cam, guided_backprop, zebra-cam"),
        ({"conditions": ["boat_cam"]}, "conditions as 1 of boat_cam"),
        ({"questions": []}, "questions as an object"),
    ],
)
def test_a_broken_key_is_named(study: Path, tmp_path: Path, change, said) -> None:
    (tmp_path / "key.json").write_text(json.dumps(json.loads((study / "key.json").read_text()) | change))
    with pytest.raises(BrokenFile, match=said):
        read_key(tmp_path)
