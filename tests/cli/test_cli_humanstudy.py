"""`humanstudy make` and `humanstudy score`: what they make of saved explanations, what they print, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import pytest
from raters import guessing, page_lists, perfect, saved_answers, source_of
from test_cli import run
from torch import nn
from torchvision import transforms
from toys import toy_answer, toy_explanation

import multimodal_cam as mc
from multimodal_cam.core.spans import Span

PHRASES = (Span("a brown dog", 0, 3), Span("the green grass", 5, 8))


def colours() -> Any:
    """A classifier with random weights, for `--models test_cli_humanstudy:colours`."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return mc.classifier(network, labels=["red", "green", "blue"], preprocess=transforms.ToTensor())


def saved(folder: Path, number: int, method: str, model: str = "toy", **changes: Any) -> None:
    """A caption's explanation under a method, whose maps differ by photo and method."""
    e = toy_explanation(image=networks.noise_image(number, (64, 48)))
    e = replace(e, token_maps=e.token_maps.roll(3 if method == "evidence" else 0, dims=1))
    replace(e, method=method, model=model, parsed_phrases=PHRASES, **changes).save(folder / f"photo-{number}")


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos under two methods, and one more under the first only."""
    folder = tmp_path_factory.mktemp("maps")
    for method in ("grad_cam", "evidence"):
        for number in range(6 + (method == "grad_cam")):
            saved(folder / method, number, method)
    return folder


def key_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "key.json").read_text())


def make(task: str, folders: list[Path], out: Path, *options: str | Path | int) -> dict[str, Any]:
    done = run("humanstudy", "make", task, *folders, "--out", out, *options)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{out / 'study.html'}\n"
    return key_of(out)


def test_class_from_two_folders_to_the_scores(maps: Path, tmp_path: Path) -> None:
    key = make("class", [maps / "grad_cam", maps / "evidence"], tmp_path / "study")
    assert key["conditions"] == ["grad_cam", "evidence"]
    asked = [question for question in key["questions"].values() if not question["check"]]
    assert len(asked) == 12
    assert {tuple(sorted(question["options"])) for question in asked} == {("brown dog", "green grass")}
    assert all(question["stimulus"].split(": ")[1].startswith(question["options"][question["right"]]) for question in asked)
    assert len(page_lists(tmp_path / "study")) == 2
    (tmp_path / "answers").mkdir()
    for rater in (1, 2, 3):
        saved_answers(tmp_path / "study", rater, guessing(1) if rater == 3 else perfect, tmp_path / "answers")
    done = run("humanstudy", "score", tmp_path / "answers", "--study", tmp_path / "study")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["condition", "accuracy", "low", "high", "answers", "raters", "alpha", "seconds"]
    assert lines[1].split() == ["grad_cam", "1.000", "1.000", "1.000", "6", "2", "-", "2.000"]
    assert "grad_cam - evidence  0.000" in done.stdout
    assert done.stderr.startswith("left out: rater 3: ")
    rows = [
        json.loads(line)
        for line in run(*f"humanstudy score {tmp_path}/answers --study {tmp_path}/study --json".split()).stdout.splitlines()
    ]
    assert [row["kind"] for row in rows] == ["condition", "condition", "all", "difference", "rater", "rater", "rater"]


def test_one_folder_is_divided_by_what_differs(maps: Path, tmp_path: Path) -> None:
    assert make("class", [maps], tmp_path / "study")["conditions"] == ["evidence", "grad_cam"]


def test_the_pictures_are_the_maps_and_the_source_does_not_name_them(maps: Path, tmp_path: Path) -> None:
    make("class", [maps / "grad_cam", maps / "evidence"], tmp_path / "study", "--photo-alone", "--checks", 0)
    key, data = key_of(tmp_path / "study"), source_of(tmp_path / "study")
    assert key["conditions"] == ["grad_cam", "evidence", "photo alone"]
    assert len(data["pictures"]) == 18
    del data["pictures"]
    said = json.dumps(data)
    assert not [name for name in ("grad_cam", "evidence", "photo-", "toy", "alone") if name in said]


def test_pairs_name_words_of_photos(maps: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(
        "image,shown,other\nphoto-0,runs,grass\nphoto-1,dog,a cat\nphoto-2,grass,dog\nphoto-9,dog,cat\nphoto-3,zebra,dog\n"
    )
    out = tmp_path / "study"
    done = run(
        "humanstudy", "make", "class", maps / "grad_cam", maps / "evidence", "--pairs", tmp_path / "pairs.csv", "--out", out
    )
    assert "left out: 1 x a photo that was not explained under all conditions" in done.stderr
    assert "left out: 1 x a thing without a map under all conditions" in done.stderr
    found = {question["stimulus"] for question in key_of(out)["questions"].values() if not question["check"]}
    assert found == {"photo-0: runs, not grass", "photo-1: dog, not a cat", "photo-2: grass, not dog"}


def test_reliability_of_two_models_that_say_the_same(tmp_path: Path) -> None:
    for number in range(4):
        for model in ("one", "two"):
            saved(tmp_path / "maps" / model, number, "grad_cam", model)
    key = make("reliability", [tmp_path / "maps"], tmp_path / "study")
    assert key["conditions"] == ["one", "two"]
    assert {tuple(question["conditions"]) for question in key["questions"].values()} == {("one", "two"), ("two", "one")}
    done = run("humanstudy", "make", "reliability", tmp_path / "maps", "--out", tmp_path / "b", "--photo-alone")
    assert (done.exit_code, done.stderr) == (
        1,
        "error: the photo alone is no model that could be reliable: leave --photo-alone out\n",
    )


def test_words_right_and_wrong_are_as_many(maps: Path, tmp_path: Path) -> None:
    lines = [f"photo-{i},{word},{right}" for i in range(5) for word, right in (("dog", "yes"), ("runs", "yes"), ("green", "no"))]
    (tmp_path / "truth.csv").write_text("\n".join(["image,word,right", *lines]))
    key = make("word", [maps / "grad_cam", maps / "evidence"], tmp_path / "study", "--truth", tmp_path / "truth.csv")
    asked = {name: question for name, question in key["questions"].items() if not question["check"]}
    for shown in page_lists(tmp_path / "study"):
        own = [asked[name] for name in shown if name in asked]
        assert sorted(question["right"] for question in own) == [0] * 5 + [1] * 5
    prompts = {question["prompt"] for name, question in source_of(tmp_path / "study")["questions"].items() if name in asked}
    assert "“a brown dog runs over the green grass”. Is “dog” right?" in prompts


def test_answers_are_things_too(tmp_path: Path) -> None:
    for method in ("grad_cam", "hires_cam"):
        for number in range(3):
            e = toy_answer("brown", image=networks.noise_image(number, (64, 48)))
            replace(e, method=method).save(tmp_path / method / f"{number}")
    key = make("class", [tmp_path / "grad_cam", tmp_path / "hires_cam"], tmp_path / "study")
    options = {name for question in key["questions"].values() for name in question["options"]}
    assert options <= {"brown", "black", "white", "gold", "red", "blue"}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["class"], 2, "give either folders with saved explanations or --images"),
        (["class", "grad_cam"], 1, "expected explanations of two or more models or methods, got those of"),
        (["class", "empty", "grad_cam"], 1, "empty holds no explanations: expected folders that `caption`"),
        (["word", "grad_cam", "evidence"], 1, "the task word needs to know which words are right"),
        (["word", "grad_cam", "evidence", "--pairs", "pairs.csv"], 2, "the task word takes no pairs"),
        (["class", "grad_cam", "evidence", "--truth", "pairs.csv"], 2, "the task class takes no truth"),
        (
            ["class", "grad_cam", "evidence", "--pairs", "pairs.csv"],
            1,
            "expected the header 'image,shown,other', got 'image,shown'",
        ),
        (["class", "grad_cam", "evidence", "--limit", "1"], 1, "expected at least 2 photos that can be asked about, got 1"),
        (["reliability", "grad_cam", "other"], 1, "no photo was explained under all of grad_cam, other"),
    ],
)
def test_what_is_refused(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pairs.csv").write_text("image,shown\n")
    saved(tmp_path / "other", 77, "grad_cam")
    for name in ("grad_cam", "evidence"):
        (tmp_path / name).symlink_to(maps / name)
    monkeypatch.chdir(tmp_path)
    done = run("humanstudy", "make", *options, "--out", tmp_path / "study")
    assert done.exit_code == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_photos_explained_at_once(tmp_path: Path) -> None:
    """Two methods of one classifier; the second explains the class that the first one found."""
    (tmp_path / "photos").mkdir()
    for number in range(3):
        networks.noise_image(number, (64, 48)).save(tmp_path / "photos" / f"{number}.png")
    images = ("--images", tmp_path / "photos", "--models", "test_cli_humanstudy:colours", "--methods", "grad_cam,hires_cam")
    done = run("humanstudy", "make", "class", *images, "--out", tmp_path / "study")
    assert done.exit_code == 0, done.stderr
    assert key_of(tmp_path / "study")["conditions"] == ["grad_cam", "hires_cam"]
    assert {name for one in key_of(tmp_path / "study")["questions"].values() for name in one["options"]} <= {
        "red",
        "green",
        "blue",
    }
