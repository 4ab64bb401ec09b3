"""The study on Hugging Face models: tokens instead of grids, words of several tokens, photos whose grids differ."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from networks import noise_image
from test_study import pq, rows, settings

from multimodal_cam.study.runner import study_run
from multimodal_cam.study.sources.photo_list import listed_photos

SENTENCE = "[/EN#1/people A T-shirted dog] plays with [/EN#2/other the red ball] on [/EN#3/scene the grass] .\n"
SIZES = [(96, 48), (64, 64)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study-hf")
    for part in ("images", "Annotations", "Sentences"):
        (folder / part).mkdir()
    for i, (width, height) in enumerate(SIZES):
        noise_image(i, (width, height)).save(folder / "images" / f"{i}.jpg")
        box = "<bndbox><xmin>{0}</xmin><ymin>1</ymin><xmax>{1}</xmax><ymax>30</ymax></bndbox>"
        boxes = "".join(f"<object><name>{name}</name>{box.format(x, x + 30)}</object>" for name, x in ((1, 1), (2, 30)))
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        (folder / "Annotations" / f"{i}.xml").write_text(f"<annotation>{size}{boxes}</annotation>")
        (folder / "Sentences" / f"{i}.txt").write_text(SENTENCE)
    return folder


def study(photos: Path, model: Any, out: Path, **changes: Any) -> Path:
    chosen = settings(photos, models=(str(model),), methods=("grad_cam", "evidence"), **changes)
    return study_run.run_study(chosen, listed_photos(None, photos, {}), out)


@pytest.mark.parametrize("name", ["llava", "idefics3"])
def test_words_and_phrases_of_human_captions(checkpoints, photos: Path, tmp_path: Path, name: str) -> None:
    done = study(photos, checkpoints(name), tmp_path / "out", n_steps=2)
    assert not rows(done, "errors")
    found = rows(done)
    assert {row["image"] for row in found} == {"0.jpg", "1.jpg"}  # of different grids, in one batch
    assert {row["phrase"] for row in found} == {"a t-shirted dog", "the red ball"}
    assert {row["method"] for row in found} >= {"grad_cam", "evidence"}
    for column in ("reliance", "pointing", *(f"energy__{name}" for name in ("activation", "other_word", "random_weights"))):
        assert any(math.isfinite(row[column]) for row in found), column


def test_the_layer_of_tokens_is_no_canvas(checkpoints, photos: Path, tmp_path: Path) -> None:
    study(photos, checkpoints("llava"), tmp_path / "out", metrics=("deletion",), canvas="layer")
    assert not rows(tmp_path / "out")
    errors = pq.read_table(tmp_path / "out" / "errors.parquet").to_pylist()
    assert len(errors) == 2
    assert all("use canvas='pixels'" in error["message"] for error in errors)
