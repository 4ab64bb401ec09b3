"""Folders that appear whole or not at all, names that are free, and which files are photos."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from multimodal_cam.core.files import RECORDS, photos_in, unused, whole_or_nothing


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_whole(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "deep" / "out"
    if exists:
        target.mkdir(parents=True)
    with whole_or_nothing(target) as folder:
        (folder / "file").write_text("new")
        assert not (target / "file").exists()
    assert [path.name for path in target.iterdir()] == ["file"]
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode & 0o755 == 0o755


def half_written(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    with whole_or_nothing(target, overwrite=overwrite) as folder:
        (folder / "half").touch()
        raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"out' \(No space left on device\).*free some space"),
        (ValueError("a bug"), "a bug"),
        (KeyboardInterrupt(), "^$"),
    ],
)
def test_nothing_stays_after_an_error(tmp_path: Path, error: BaseException, words: str) -> None:
    with pytest.raises(type(error), match=words):
        half_written(tmp_path / "out", error)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="is not empty"), whole_or_nothing(tmp_path):
        pass
    with pytest.raises(FileExistsError, match="other things"), whole_or_nothing(tmp_path, overwrite=True):
        pass
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_an_earlier_report_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / RECORDS).write_text("old")
    (tmp_path / "dog").mkdir()
    with pytest.raises(RuntimeError):
        half_written(tmp_path, RuntimeError(), overwrite=True)
    assert (tmp_path / RECORDS).read_text() == "old"
    with whole_or_nothing(tmp_path, overwrite=True) as folder:
        (folder / RECORDS).write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [RECORDS]
    assert (tmp_path / RECORDS).read_text() == "new"


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match=r"cannot write to .*/file/out' \(.+\): choose another folder"),
        whole_or_nothing(tmp_path / "file" / "out"),
    ):
        pass


def test_unused_names(tmp_path: Path) -> None:
    assert unused(tmp_path / "out") == tmp_path / "out"
    (tmp_path / "out").mkdir()
    (tmp_path / "out-2").mkdir()
    assert unused(tmp_path / "out") == tmp_path / "out-3"


def test_photos_of_folders_are_found_at_every_depth(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "deep/er/c.webp", "note.txt", ".hidden.jpg", ".git/d.jpg", "saved/image.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "saved" / "manifest.json").touch()
    found = photos_in(["nowhere.jpg", str(tmp_path)])
    assert found == ["nowhere.jpg", *(str(tmp_path / name) for name in ("a.png", "b.JPG", "deep/er/c.webp"))]


def test_a_folder_without_photos(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no photos in .*looked for \.avif"):
        photos_in([str(tmp_path)])
