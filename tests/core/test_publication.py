"""Folders that appear whole or not at all, are replaced only as far as they are ours, and survive runs that are killed."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from multimodal_cam.core.drafts import DRAFT, LOCK, lock_folder, unused
from multimodal_cam.core.publication import finish_publication, new_folder
from multimodal_cam.core.signatures import (
    SIGNATURE,
    append_entries,
    foreign_names,
    own_files,
    read_signature,
    start_signature,
    write_signature,
)

OLD = {"index": "old", "old only": "old", "dog/image": "old", "dog/old": "old"}
NEW = {"index": "new", "new only": "new", "dog/image": "new", "cat/image": "new"}
THEIRS = {"notes.txt": "mine", "dog/notes.txt": "mine", ".git/HEAD": "mine", "cat.jpg": "mine"}


class KilledError(BaseException):
    """Stands for a kill: nothing after it may run."""


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def write(target: Path, files: dict[str, str], *, overwrite: bool = False, kind: str = "report") -> Path:
    with new_folder(target, kind, overwrite=overwrite) as new:
        fill(new.draft, files)
        for folder in {Path(name).parent for name in files} - {Path()}:
            write_signature(new.draft / folder, "explanation")
    return new.path


def half_written(target: Path, error: BaseException) -> None:
    with new_folder(target, "report", overwrite=True) as new:
        fill(new.draft, NEW)
        raise error


def content(folder: Path) -> dict[str, str]:
    """Files and what they hold, without signatures and locks."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in (SIGNATURE, LOCK))
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_whole(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "deep" / "out"
    if exists:
        target.mkdir(parents=True)
    with new_folder(target, "report") as new:
        (new.draft / "file").write_text("new")
        assert not (target / "file").exists()
    assert sorted(path.name for path in target.iterdir()) == [SIGNATURE, "file"]
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode & 0o755 == 0o755
    signature = read_signature(target)
    assert signature is not None
    assert (signature.kind, list(signature.entries)) == ("report", ["file"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"out' \(No space left on device\).*free some space"),
        (ValueError("a bug"), "a bug"),
        (KeyboardInterrupt(), "^$"),
    ],
)
@pytest.mark.parametrize("exists", [False, True])
def test_nothing_stays_after_an_error(tmp_path: Path, error: BaseException, words: str, exists: bool) -> None:
    if exists:
        write(tmp_path / "out", OLD)
    with pytest.raises(type(error), match=words):
        half_written(tmp_path / "out", error)
    assert content(tmp_path) == ({f"out/{name}": text for name, text in OLD.items()} if exists else {})
    assert not list(tmp_path.rglob(f"*{DRAFT}"))


def test_things_of_others_survive_beside_what_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    fill(tmp_path, THEIRS)
    write(tmp_path, NEW, overwrite=True)
    assert content(tmp_path) == NEW | THEIRS
    assert not (tmp_path / DRAFT).exists()


def test_empty_folders_of_ours_go_and_others_stay(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    (tmp_path / "empty").mkdir()
    write(tmp_path, {"index": "new"}, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [SIGNATURE, "empty", "index"]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"index": "edited"}, "were changed .*index"),
        ({"dog/image": "edited"}, "were changed .*dog/image"),
        ({"new only": "mine"}, "in the way .*new only"),
        ({"cat/image": "mine"}, "in the way .*cat/image"),
        ({"cat": "a file where a folder would be"}, "in the way .*cat"),
    ],
)
def test_what_is_in_the_way_and_not_ours_is_refused_by_name(tmp_path: Path, theirs: dict[str, str], said: str) -> None:
    write(tmp_path, OLD)
    fill(tmp_path, theirs)
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match=said):
        write(tmp_path, NEW, overwrite=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["results.jsonl", "manifest.json", "mine.txt", SIGNATURE])
def test_folders_of_others_are_never_replaced(
    tmp_path: Path, name: str, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, {name: "keep", "thesis/a.tex": "keep", ".git/HEAD": "keep"})
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for target in (tmp_path, Path("."), Path("thesis")):
        with pytest.raises(FileExistsError, match="choose another folder"):
            write(target, NEW, overwrite=overwrite)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "out", OLD)
    with pytest.raises(FileExistsError, match="holds a report, not an explanation"):
        write(tmp_path / "out", NEW, overwrite=True, kind="explanation")


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    fill(outside, {"image": "theirs"})
    write_signature(outside, "explanation")
    write(tmp_path / "out", {"index": "old"})
    append_entries(tmp_path / "out", {"dog/": None})
    (tmp_path / "out" / "dog").symlink_to(outside)
    with pytest.raises(FileExistsError, match="in the way .*dog"):
        write(tmp_path / "out", {"dog/image": "new"}, overwrite=True)
    write(tmp_path / "out", {"index": "new"}, overwrite=True)
    assert content(outside) == {"image": "theirs"}


@pytest.mark.parametrize("name", ["../victim", "/etc/hostname", "dog/../../victim", "", "/", ".."])
def test_a_signature_cannot_name_what_lies_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_text("keep")
    target = tmp_path / "out"
    target.mkdir()
    start_signature(target, "report")
    append_entries(target, {name: None})
    assert list(own_files(target)) == [SIGNATURE]
    write(target, NEW, overwrite=True)
    assert (tmp_path / "victim").read_text() == "keep"


# ---- kills -------------------------------------------------------------------------------------------------


def killed_at(count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on the `count`-th change of the file system, and all after it, raise Killed instead; what was called."""
    calls: list[str] = []

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def fake(*args: object, **kwargs: object) -> object:
            calls.append(name)
            if len(calls) > count:
                raise KilledError
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, fake)

    for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
        wrap(name)
    return calls


@pytest.mark.parametrize("count", range(40))
def test_a_killed_run_leaves_the_old_or_the_new(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    write(target, OLD)
    fill(target, THEIRS)
    with monkeypatch.context() as patched:
        killed_at(count, patched)
        with contextlib.suppress(KilledError):
            write(target, NEW, overwrite=True)
    finish_publication(target)
    drafts = [name for name in content(target) if name.startswith(DRAFT)]
    assert {name: text for name, text in content(target).items() if name not in drafts} in (OLD | THEIRS, NEW | THEIRS)
    write(target, NEW | {"again": "new"}, overwrite=True)
    assert content(target) == NEW | THEIRS | {"again": "new"}
    assert not (target / DRAFT).exists()


@pytest.mark.parametrize("count", range(12))
def test_a_killed_first_run_leaves_nothing_or_all(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    with monkeypatch.context() as patched:
        killed_at(count, patched)
        with contextlib.suppress(KilledError):
            write(target, NEW)
    assert not target.exists() or content(target) == NEW
    write(target, OLD, overwrite=True)
    assert content(target) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_leftovers_with_a_hostile_list_touch_nothing_of_others(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    fill(outside, {"victim": "keep"})
    target = tmp_path / "out"
    write(target, OLD)
    fill(target, THEIRS | {f"{DRAFT}/.committed": '["../outside/victim", "notes.txt", "old only"]', f"{DRAFT}/index": "new"})
    finish_publication(target)
    assert content(outside) == {"victim": "keep"}
    assert content(target) == {name: text for name, text in (OLD | THEIRS | {"index": "new"}).items() if name != "old only"}


# ---- two at once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [False, True])
def test_the_second_writer_is_told_who_writes(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "out"
    if exists:
        write(target, OLD)
    with new_folder(target, "report", overwrite=True) as new:
        fill(new.draft, NEW)
        with pytest.raises(BlockingIOError, match="another process is writing to .*out'"):
            write(target, OLD, overwrite=True)
        assert unused(target) == tmp_path / "out-2"
    assert content(target) == NEW


def test_a_folder_that_appears_meanwhile_is_left_alone_and_nothing_is_lost(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out", "report") as new:
        fill(new.draft, NEW)
        fill(tmp_path / "out", THEIRS)
    assert new.path == tmp_path / "out-2"
    assert (content(tmp_path / "out"), content(new.path)) == (THEIRS, NEW)


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(BlockingIOError, match="another process is writing"), lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path):
        pass


# ---- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 255, "🐕" * 62, "é" * 127])
def test_the_longest_legal_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, OLD)
    write(tmp_path / name, NEW, overwrite=True)
    assert content(tmp_path / name) == NEW
    assert len(os.fsencode(unused(tmp_path / name).name)) <= 255


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write to .*/file/out' \(.+\): choose another folder"):
        write(tmp_path / "file" / "out", NEW)
    with pytest.raises(FileExistsError, match="is no folder"):
        write(tmp_path / "file", NEW, overwrite=True)


def test_unused_names(tmp_path: Path) -> None:
    assert unused(tmp_path / "out") == tmp_path / "out"
    (tmp_path / "out").mkdir()
    (tmp_path / "out-2").mkdir()
    assert unused(tmp_path / "out") == tmp_path / "out-3"


def test_what_is_not_ours_is_named_also_in_folders_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "out", OLD)
    assert foreign_names(tmp_path / "out") == []
    fill(tmp_path / "out", THEIRS)
    assert foreign_names(tmp_path / "out") == [".git", "cat.jpg", "dog", "notes.txt"]
