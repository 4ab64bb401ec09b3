"""data/readers/question_record.py: what is written comes back, and what is broken is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multimodal_cam.data.readers.question_record import Question, read_questions, write_questions

PLAIN = Question("1.jpg", "What colour is the café's door?", "red")
FULL = Question(
    image="2.jpg",
    question="How many dogs?",
    answer="2",
    type="number",
    caption="two dogs run",
    boxes=((0.1, 0.0, 0.5, 1.0), (0.25, 0.5, 0.3333, 0.75)),
    split="val",
    answers=("2", "two", "2"),
    attention="maps/2_1.png",
)


def line(**changed: Any) -> str:
    return json.dumps(PLAIN.to_json() | changed)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "questions.jsonl"
    assert write_questions([PLAIN, FULL], path) == 2
    assert list(read_questions(path)) == [PLAIN, FULL]
    assert "café" in path.read_text(encoding="utf-8")


def test_a_line_has_seven_fields_and_others_where_they_say_something() -> None:
    seven = ["image", "question", "answer", "type", "caption", "boxes", "split"]
    assert list(PLAIN.to_json()) == seven
    assert list(FULL.to_json()) == [*seven, "answers", "attention"]


def test_boxes_are_rounded(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    write_questions([replace(PLAIN, boxes=((1 / 3, 0, 2 / 3, 1),))], path)
    assert next(read_questions(path)).boxes == ((0.333333, 0, 0.666667, 1),)


def test_no_questions_make_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    assert write_questions([], path) == 0
    assert path.read_bytes() == b""
    assert list(read_questions(path)) == []


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_half_written_file_is_never_left(tmp_path: Path, failure: type[BaseException]) -> None:
    def breaks() -> Iterator[Question]:
        yield PLAIN
        raise failure("in the middle")

    path = tmp_path / "questions.jsonl"
    with pytest.raises(failure, match="in the middle"):
        write_questions(breaks(), path)
    assert list(tmp_path.iterdir()) == []
    write_questions([FULL], path)
    with pytest.raises(failure, match="in the middle"):
        write_questions(breaks(), path)
    assert list(tmp_path.iterdir()) == [path]
    assert list(read_questions(path)) == [FULL]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("what?", "Expecting value"),
        (line()[:20], "line 1 column"),
        ("[1, 2]", "this is a list"),
        ('{"image": "1.jpg"}', "answer, question missing"),
        (line(answer=" "), "a question needs 'answer', got ' '"),
        (line(image=7), "a question needs 'image', got 7"),
        (line(boxes=[[0, 0, 1]]), "not enough values"),
        (line(boxes=[["a", 0, 1, 1]]), "could not convert"),
        (line(boxes=7), "not iterable"),
        (line(boxes=[[0.5, 0, 0.5, 1]]), "a box is x0, y0, x1, y1 in fractions"),
        (line(answers=None), "answers is no list"),
    ],
)
def test_a_broken_line_is_told_and_left_out(tmp_path: Path, wrong: str, message: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join([line(), "", wrong, line(answer="blue"), ""]), encoding="utf-8")
    told: list[str] = []
    assert [question.answer for question in read_questions(path, told.append)] == ["red", "blue"]
    assert len(told) == 1
    assert told[0].startswith(f"{path}, line 3: expected a question as a JSON object, got ")
    assert message in told[0]
    with pytest.raises(ValueError, match="line 3") as raised:
        list(read_questions(path))
    assert str(raised.value) == told[0]


def test_lines_before_a_broken_one_come_out_first(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(f"{line()}\n{'x' * 500}\n", encoding="utf-8")
    questions = read_questions(path)
    assert next(questions) == PLAIN
    with pytest.raises(ValueError, match=f"line 2: .*got '{'x' * 60}…'"):
        next(questions)


def test_bytes_that_are_no_utf8_break_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b"\xff\xfe\n" + line().encode() + b"\n")
    told: list[str] = []
    assert list(read_questions(path, told.append)) == [PLAIN]
    assert len(told) == 1
    assert "line 1" in told[0]


def test_fields_of_others_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(line(colour_of_pen="green") + "\n", encoding="utf-8")
    assert list(read_questions(path)) == [PLAIN]


@pytest.mark.parametrize("field", ["image", "question", "answer"])
def test_a_question_needs_words(field: str) -> None:
    with pytest.raises(ValueError, match=f"a question needs '{field}', got ' '"):
        Question(**PLAIN.to_json() | {field: " "})


@pytest.mark.parametrize(
    "box", [(0.5, 0, 0.5, 1), (0, 0.6, 1, 0.5), (-0.1, 0, 1, 1), (0, 0, 1.01, 1), (0, 0, float("nan"), 1), (0, 0, 1)]
)
def test_bad_boxes(box: Any) -> None:
    with pytest.raises(ValueError, match="a box is x0, y0, x1, y1 in fractions of the photo"):
        replace(PLAIN, boxes=(box,))
