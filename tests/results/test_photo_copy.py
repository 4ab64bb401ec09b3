"""Folders with a copy of the photo at display size: read with the copy, or with the photo, which is known by its pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import noise_image
from PIL import Image
from toys import region_explanation, toy_explanation

import multimodal_cam as mc
from multimodal_cam.core.images import load_image
from multimodal_cam.render.overlay import jpeg, shrink
from multimodal_cam.results.io import write_explanation
from multimodal_cam.results.photo_copy import PhotoCopy, fingerprint


def save(e: mc.Explanation, folder: Path, side: int = 80) -> Path:
    small = shrink(e, side)
    return write_explanation(small, folder, copy=PhotoCopy(jpeg(small.image), e.image.size, fingerprint(e.image)))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    noise_image(3).resize((160, 120)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_copy_is_the_image_and_all_numbers_are_exact(tmp_path: Path, photo: Path) -> None:
    e = toy_explanation(image=load_image(photo))
    folder = save(e, tmp_path / "saved")
    assert sorted(path.name for path in folder.iterdir()) == [".multimodal-cam", "image.jpg", "manifest.json", "maps.safetensors"]
    again = mc.Explanation.load(folder)
    assert again.image.size == (80, 60)
    assert again.heatmap("dog").shape == (60, 80)
    assert torch.equal(again.maps, e.maps)
    assert torch.equal(again.reliance, e.reliance)
    assert again.provenance == {**e.provenance, "image": "display copy of a photo of 160 x 120 pixels"}
    again.to_html()


@pytest.mark.parametrize("of", ["path", "text", "image"])
def test_with_the_photo_everything_is_as_before(tmp_path: Path, photo: Path, of: str) -> None:
    e = toy_explanation(image=load_image(photo))
    source = {"path": photo, "text": str(photo), "image": load_image(photo)}[of]
    again = mc.Explanation.load(save(e, tmp_path / "saved"), photo=source)
    assert np.array_equal(np.asarray(again.image), np.asarray(e.image))
    assert torch.equal(again.heatmap("dog"), e.heatmap("dog"))
    assert (again.placement, again.provenance) == (e.placement, e.provenance)


def test_boxes_are_in_pixels_of_the_image_that_is_there(tmp_path: Path) -> None:
    e = region_explanation()
    folder = save(e, tmp_path / "saved")
    assert torch.allclose(mc.Explanation.load(folder).region_boxes, e.region_boxes / 2)
    assert torch.equal(mc.Explanation.load(folder, photo=e.image).region_boxes, e.region_boxes)


@pytest.mark.parametrize("change", [lambda image: image.rotate(180), lambda image: image.resize((320, 240))])
def test_another_photo_is_noticed(tmp_path: Path, photo: Path, change) -> None:
    e = toy_explanation(image=load_image(photo))
    folder = save(e, tmp_path / "saved")
    change(e.image).save(photo)
    with pytest.raises(
        mc.BrokenFile, match=r"photo.png: expected the photo that was explained, 160 x 120 pixels, got another one: "
    ):
        mc.Explanation.load(folder, photo=photo)


def test_a_photo_swapped_in_the_folder_is_noticed(tmp_path: Path) -> None:
    folder = save(toy_explanation(), tmp_path / "saved")
    Image.new("RGB", (80, 60), "red").save(folder / "image.jpg")
    with pytest.raises(mc.BrokenFile, match=r"image.jpg: expected the file that was saved, got one that was changed since"):
        mc.Explanation.load(folder)


@pytest.mark.parametrize(
    "original", [None, 3, {}, {"width": 160, "height": 0, "sha256": "x"}, {"width": 160, "height": 120, "sha256": 5}]
)
def test_an_edited_manifest_is_a_broken_file(tmp_path: Path, original: object) -> None:
    folder = save(toy_explanation(), tmp_path / "saved")
    (folder / ".multimodal-cam").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"original": original}))
    with pytest.raises(mc.BrokenFile, match=r"manifest.json: .*expected"):
        mc.Explanation.load(folder, photo=toy_explanation().image)
    del manifest["original"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(mc.BrokenFile, match=r"expected files as hashes of image.png, maps.safetensors"):
        mc.Explanation.load(folder)


def test_a_lossless_folder_needs_no_photo(tmp_path: Path) -> None:
    folder = toy_explanation().save(tmp_path / "saved")
    with pytest.raises(ValueError, match="holds its photo in full, as image.png: load it without photo="):
        mc.Explanation.load(folder, photo=toy_explanation().image)


def test_a_lossless_explanation_takes_the_place_of_a_copy(tmp_path: Path) -> None:
    folder = save(toy_explanation("a cat"), tmp_path / "saved")
    toy_explanation("a dog").save(folder, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == [".multimodal-cam", "image.png", "manifest.json", "maps.safetensors"]
    assert mc.Explanation.load(folder).text == "a dog"


def test_no_metadata_leaves_with_a_photo() -> None:
    image = Image.new("RGB", (20, 10))
    image.info |= {
        "comment": b"where I live",
        "exif": b"Exif\0\0where I live",
        "xmp": b"where I live",
        "icc_profile": b"where I live",
    }
    assert b"where I live" not in jpeg(image)
