"""Names of a batch's folders: by photo and question, short, each once, whatever was there before."""

from __future__ import annotations

import pytest

from multimodal_cam.batch.batch_settings import BatchItem
from multimodal_cam.batch.folder_names import folder_names


def names_of(*items: BatchItem, **options: object) -> list[str]:
    return list(folder_names(items, {}, **options).values())  # type: ignore[arg-type]


def test_photos_and_questions_name_their_folders() -> None:
    assert names_of(BatchItem("a/horses.jpg")) == ["horses"]
    asked = [BatchItem("horses.jpg", question) for question in ("What colour is it?", "is it wet?")]
    assert names_of(*asked) == ["horses-What-colour-is-it", "horses-is-it-wet"]
    assert names_of(BatchItem("horses.jpg", "???")) == ["horses-question"]


def test_equal_names_get_the_photos_folder_then_a_hash() -> None:
    first, second, third = names_of(BatchItem("a/x.jpg"), BatchItem("b/X.png"), BatchItem("b/x.png"))
    assert (first, second) == ("x", "b-X")
    assert third.startswith("x-")
    assert names_of(BatchItem("a/x.jpg"), foreign=["X"]) == ["a-x"]


@pytest.mark.parametrize("name", ["index.jpg", "index-2.jpg", "shards.png", "CON.png", "results.gif", "run.jpg"])
def test_names_that_stand_for_other_things_are_not_taken(name: str) -> None:
    assert names_of(BatchItem(f"a/{name}")) == [f"a-{name.split('.')[0]}"]


@pytest.mark.parametrize("stem", ["\N{DOG FACE}" * 62, "a" * 250, "é" * 120, "\udcff" * 80])
def test_names_are_cut_by_bytes_between_two_characters(stem: str) -> None:
    first, second = names_of(BatchItem(f"{stem}.jpg", stem), BatchItem(f"{stem}!.jpg", stem))
    assert first != second
    for name in (first, second):
        assert 0 < len(name.encode()) <= 143  # the least that a file system allows: eCryptfs


def test_names_do_not_depend_on_how_often_a_batch_was_begun() -> None:
    items = [BatchItem("a/x.jpg"), BatchItem("b/x.jpg"), BatchItem("b/x.png")]
    whole = folder_names(items, {})
    for done in items:
        assert folder_names(items, {done: whole[done]}) == whole
