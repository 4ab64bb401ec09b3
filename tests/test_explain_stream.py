"""explain_stream(): generators, iterables and datasets in, results out, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset

import multimodal_cam as mc


@pytest.fixture(scope="module")
def model() -> Any:
    return networks.small_captioner()


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [networks.noise_image(i) for i in range(5)]


class Photos(Dataset[Any]):
    """Photos with labels, as torchvision's datasets give; the third cannot be read."""

    def __init__(self, photos: list[Image.Image], broken: int | None = None) -> None:
        self.photos, self.broken = photos, broken

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index == self.broken:
            raise OSError("damaged")
        return self.photos[index], index


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Image.Image]:
        while True:
            yield networks.noise_image(0)


def forms(photos: list[Image.Image], folder: Path) -> dict[str, Any]:
    paths = []
    for i, photo in enumerate(photos):
        photo.save(folder / f"{i}.png")
        paths.append(folder / f"{i}.png")
    return {
        "generator": (photo for photo in photos),
        "map": map(np.asarray, photos),
        "paths": folder.glob("*.png") if sorted(folder.glob("*.png")) == list(folder.glob("*.png")) else iter(paths),
        "dataset": Photos(photos),
        "subset": Subset(Photos(photos), range(len(photos))),
        "mappings": [{"image": photo, "id": 3} for photo in photos],
        "dict": dict.fromkeys(paths).keys(),
        "tensors": [torch.from_numpy(np.array(photo)).permute(2, 0, 1) for photo in photos],
        "list": photos,
    }


@pytest.mark.parametrize("form", ["generator", "map", "paths", "dataset", "subset", "mappings", "dict", "tensors", "list"])
def test_whatever_gives_photos_is_explained_in_order(model: Any, photos: list[Image.Image], tmp_path: Path, form: str) -> None:
    stream = mc.explain_stream(model, forms(photos, tmp_path)[form], batch_size=2)
    found = list(stream)
    expected = mc.explain(model, photos)
    assert [e.text for e in found] == [e.text for e in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.maps, other.maps)


def test_no_more_than_a_batch_is_read_ahead(model: Any, photos: list[Image.Image]) -> None:
    given: list[int] = []

    def numbered() -> Iterator[Image.Image]:
        for i, photo in enumerate(photos):
            given.append(i)
            yield photo

    stream = mc.explain_stream(model, numbered(), batch_size=2)
    assert given == []
    next(stream)
    assert given == [0, 1]
    next(stream)
    next(stream)
    assert given == [0, 1, 2, 3]
    assert next(mc.explain_stream(model, Endless(), batch_size=1)).text


def test_texts_and_questions_of_the_items_and_of_the_call(photos: list[Image.Image]) -> None:
    vqa = networks.small_vqa()
    questions = ["what colour is top left?", "what is bottom right"]
    rows = [{"image": photos[0], "question": questions[0]}, {"image": photos[1], "question": questions[1], "text": "red"}]
    first, second = mc.explain_stream(vqa, rows, batch_size=1)
    assert (first.question, second.question, second.text) == (*questions, "red")
    assert [e.question for e in mc.explain_stream(vqa, photos, question=questions[0])] == [questions[0]] * 5
    mixed = [rows[0], {"image": photos[1]}]
    assert [e.question for e in mc.explain_stream(vqa, mixed, question=questions[1])] == questions


def test_what_fails_is_skipped_in_its_place(model: Any, photos: list[Image.Image]) -> None:
    found = list(mc.explain_stream(model, Photos(photos, broken=2), batch_size=2, on_error="skip"))
    assert [isinstance(result, mc.Failure) for result in found] == [False, False, True, False, False]
    assert str(found[2].error) == "damaged"
    found = list(mc.explain_stream(model, iter(["nowhere.png", photos[0]]), on_error="skip"))
    assert [isinstance(result, mc.Failure) for result in found] == [True, False]
    with pytest.raises(OSError, match="damaged"):
        list(mc.explain_stream(model, Photos(photos, broken=2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"method": "magic"}, "magic"), ({"batch_size": 0}, "batch_size"), ({"layer": "nowhere"}, "nowhere")],
)
def test_wrong_options_are_refused_before_the_first_photo(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mc.explain_stream(model, iter([]), **options)


ARRAYS = [np.zeros((4, 4, 3), np.uint8), torch.zeros(3, 4, 4), networks.noise_image()]


@pytest.mark.parametrize("given", ["photo.jpg", Path("photo.jpg"), b"photo", {"image": "photo.jpg"}, 3, *ARRAYS])
def test_one_photo_is_no_stream(model: Any, given: Any) -> None:
    with pytest.raises(TypeError, match="expected an iterable of photos or a dataset"):
        mc.explain_stream(model, given)


def test_mappings_without_a_photo_are_said(model: Any) -> None:
    with pytest.raises(TypeError, match="'pixels'"):
        list(mc.explain_stream(model, [{"pixels": 3}]))


def test_explain_names_the_function_for_generators(model: Any, photos: list[Image.Image]) -> None:
    for several in (iter(photos), Photos(photos)):
        with pytest.raises(TypeError, match=r"explain_stream"):
            mc.explain(model, several)
