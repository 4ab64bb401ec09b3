"""`multimodal-cam data`: the files it writes, and what it says of input that is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from multimodal_cam.cli.app import app
from multimodal_cam.data.readers.question_record import read_questions


def make(folder: Path, *more: str) -> Result:
    args = ["--captions", folder / "captions.csv", "--split", folder / "train_images.txt", "--out", folder / "out.jsonl"]
    return CliRunner().invoke(app, ["data", "make-questions", *map(str, args), "--min-count", "1", *more])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,A brown dog is running .\nno comma here\n")
    (tmp_path / "train_images.txt").write_text("a.jpg\nb.jpg\n")
    return tmp_path


def test_make_questions_writes_what_can_be_asked_and_says_what_was_left_out(folder: Path) -> None:
    result = make(folder)
    assert result.exit_code == 0
    found = [(each.question, each.answer, each.split) for each in read_questions(folder / "out.jsonl")]
    assert found == [("what is the dog doing?", "running", "train"), ("what colour is the dog?", "brown", "train")]
    assert result.stdout == f"{folder / 'out.jsonl'}: 2 questions\n"
    assert "left out: 1 lines of captions, the first: " in result.stderr
    assert "left out: 1 photos without captions, the first: " in result.stderr


def test_nothing_to_ask_is_an_error_and_writes_nothing(folder: Path) -> None:
    (folder / "empty").mkdir()
    result = make(folder, "--entities", str(folder / "empty"))
    assert result.exit_code == 1
    assert "error: no question could be made" in result.stderr
    assert "photos without annotation" in result.stderr
    assert not (folder / "out.jsonl").exists()


def test_two_splits_of_one_name_are_refused(folder: Path) -> None:
    result = make(folder, "--split", str(folder / "train_images.txt"))
    assert result.exit_code == 1
    assert "error: two splits of one name" in result.stderr
