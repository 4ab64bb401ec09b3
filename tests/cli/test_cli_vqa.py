"""The commands for questions: vqa, train vqa, eval vqa."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networks
import pytest
from test_cli import photo, run  # noqa: F401

import multimodal_cam as mc
from multimodal_cam.data.readers.question_record import Question, write_questions

MODEL = ["--model", "test_cli_vqa:tiny"]
QUESTION = "what colour is top left?"


def tiny() -> Any:
    """A VQA network with random weights, for `--model test_cli_vqa:tiny`."""
    return networks.small_vqa()


def test_an_answer_gets_a_table_a_page_and_a_picture(photo: Path) -> None:  # noqa: F811
    done = run("vqa", photo, QUESTION, *MODEL)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    e = mc.explain(tiny(), photo, question=QUESTION)
    assert lines[0] == f"{QUESTION} {e.text}"
    assert [line.split()[0] for line in lines[2:6]] == [text for text, _ in e.answers]
    assert lines[6].startswith("the question's words add, in logit: what ")
    assert lines[7].startswith("the photo adds ")
    written = Path(lines[-1]).parent
    assert QUESTION in (written / "index.html").read_text()
    assert mc.Explanation.load(written / "dog-what-colour-is-top-left").answers == e.answers


def test_several_questions_as_json(photo: Path) -> None:  # noqa: F811
    done = run("vqa", photo, QUESTION, "what is bottom right", *MODEL, "--json", "--answer", "red")
    assert done.exit_code == 0, done.output
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["question"], second["question"]) == (QUESTION, "what is bottom right")
    assert first["text"] == second["text"] == "red"
    assert {answer["text"] for answer in first["answers"]} == set(networks.COLOURS)
    assert not list(Path().iterdir())


def test_why_this_and_not_that_and_what_speaks_against(photo: Path) -> None:  # noqa: F811
    rival = mc.explain(tiny(), photo, question=QUESTION).answers[1][0]
    instead = json.loads(run("vqa", photo, QUESTION, *MODEL, "--json", "--instead-of", rival).stdout)
    assert (instead["score"], instead["unit"]) == ("contrast", "nats")
    against = json.loads(run("vqa", photo, QUESTION, *MODEL, "--json", "--counterfactual").stdout)
    assert (against["score"], against["counterfactual"]) == ("logit", True)


def test_unknown_words_of_the_question_are_said(photo: Path) -> None:  # noqa: F811
    done = run("vqa", photo, "what hue is top left", *MODEL)
    assert "the model does not know hue: it reads <unk> there" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([QUESTION, "--answer", "purple"], "'purple' is none of the 4 answers that the model can give"),
        ([QUESTION, "--instead-of", "rad"], "near: red"),
        ([""], "question: expected words, got ''"),
        (["what " * 2000], "this one has 2000"),
        ([QUESTION, "--method", "magic"], "unknown method 'magic'; choose from"),
    ],
)
def test_what_is_refused(photo: Path, arguments: list[str], message: str) -> None:  # noqa: F811
    done = run("vqa", photo, *arguments, *MODEL)
    assert done.exit_code != 0
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert not list(Path().iterdir())


def test_a_captioner_is_asked_nothing(photo: Path) -> None:  # noqa: F811
    done = run("vqa", photo, QUESTION, "--model", "test_cli:tiny")
    assert done.exit_code == 1
    assert "takes no question" in done.stderr


# ---- train and eval ----------------------------------------------------------------------------------------


@pytest.fixture
def questions(photo: Path) -> Path:  # noqa: F811
    """A file of questions about four photos, with a broken line."""
    Path("photos").mkdir()
    asked = []
    for i in range(4):
        networks.noise_image(i).save(Path("photos", f"{i}.jpg"))
        asked += [
            Question(f"{i}.jpg", "what colour is top left?", ("red", "green")[i % 2], "colour", boxes=((0, 0, 0.5, 0.5),)),
            Question(f"{i}.jpg", "is top left?", "yes", "yes/no"),
        ]
    write_questions(asked, Path("questions.jsonl"))
    with Path("questions.jsonl").open("a") as file:
        file.write("{broken\n")
    return Path("questions.jsonl")


def test_training_and_asking_what_was_trained(questions: Path) -> None:
    command = ["train", "vqa", "--images", "photos", "--questions", questions, "--dev", questions, "--out", "trained"]
    done = run(*command, "--epochs", 1, "--min-count", 1, "--min-answers", 2, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "trained"
    assert "skipped 1 malformed lines, the first: questions.jsonl, line 9: expected a question" in done.stderr
    assert run("vqa", "photos/0.jpg", "is top left?", "--model", "trained", "--json", "--device", "cpu").exit_code == 0
    done = run(
        "eval", "vqa", "--images", "photos", "--questions", questions, "--known", questions, "--model", "trained", "--json"
    )
    rows = {row["type"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert (rows["all"]["count"], rows["colour"]["count"]) == (8, 4)
    assert rows["colour"]["commonest"] == 0.5
    assert rows["yes/no"]["commonest"] == 1.0


def test_eval_of_an_own_network(questions: Path) -> None:
    done = run("eval", "vqa", "--images", "photos", "--questions", questions, "--known", questions, *MODEL)
    assert done.exit_code == 0, done.output
    head, *rows = done.stdout.splitlines()
    assert head.split()[:3] == ["type", "count", "model"]
    assert [row.split()[0] for row in rows] == ["colour", "yes/no", "all"]


def test_a_file_without_questions_is_an_error(questions: Path) -> None:
    Path("empty.jsonl").write_text("\n")
    done = run("eval", "vqa", "--images", "photos", "--questions", "empty.jsonl", "--known", questions, *MODEL)
    assert done.exit_code == 1
    assert "empty.jsonl holds no questions" in done.stderr
