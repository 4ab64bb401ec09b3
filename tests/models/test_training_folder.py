"""Whose files a training run touches, and what two of them say to each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from multimodal_cam.core.files import photos_in
from multimodal_cam.core.signatures import kind_of
from multimodal_cam.models.training.training_folder import in_training_folder, training_folder


def test_a_folder_is_signed_and_begun_again(tmp_path: Path) -> None:
    for _ in range(2):
        with training_folder(tmp_path / "out"):
            (tmp_path / "out" / "config.json").write_text("{}")
    assert kind_of(tmp_path / "out") == "model"


def test_one_that_an_older_version_began_is_gone_on_with(tmp_path: Path) -> None:
    for name in ("checkpoint.pt", "log.jsonl"):
        (tmp_path / name).touch()
    with training_folder(tmp_path):
        assert kind_of(tmp_path) == "model"


@pytest.mark.parametrize("name", ["config.json", "thesis.tex", "model.safetensors"])
def test_other_things_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"), training_folder(tmp_path):
        pass
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_two_runs_into_one_folder(tmp_path: Path) -> None:
    with (
        training_folder(tmp_path / "out"),
        pytest.raises(BlockingIOError, match="another process is writing to .*out'"),
        training_folder(tmp_path / "out"),
    ):
        pass


def test_a_run_that_fails_at_once_leaves_nothing(tmp_path: Path) -> None:
    @in_training_folder
    def train(*, out: Path) -> Path:
        raise FileNotFoundError("no photos")

    with pytest.raises(FileNotFoundError, match="no photos"):
        train(out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no photos in"):
        photos_in([str(tmp_path)])
