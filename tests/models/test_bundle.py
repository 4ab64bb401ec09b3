"""The captioner that comes with the package: whole, small, and saying what it said when it was trained."""

import json
import tarfile
from pathlib import Path

import pytest

import multimodal_cam as mc
from multimodal_cam.evaluation.caption_quality import say
from multimodal_cam.models.bundle import BUNDLED, bundled, model_folder

SHARED = Path(__file__).parents[3] / "shared" / "data" / "flickr8k"
SAMPLES = Path(mc.__file__).parent / "data" / "samples"


@pytest.fixture(scope="module")
def nic():
    return mc.load("nic", device="cpu")


@pytest.fixture(scope="module")
def lstm_q():
    return mc.load("lstm-q", device="cpu")


def test_it_is_there_and_small():
    assert bundled() == ["lstm-q", "nic", "san", "sat"]
    assert (model_folder("nic") / "model.safetensors").stat().st_size <= 30e6
    assert (model_folder("lstm-q") / "model.safetensors").stat().st_size <= 20e6
    for twin in ("san", "sat"):
        assert (model_folder(twin) / "model.safetensors").stat().st_size <= 15e6
    assert (BUNDLED / "LICENSE").is_file()


def dev_photos(names, folder):
    """The photos of Flickr8k's dev split, in `folder`."""
    if not (SHARED / "images.tar").is_file():
        pytest.skip("needs the photos of ../shared/data/flickr8k")
    with tarfile.open(SHARED / "images.tar") as tar:
        for name in names:
            tar.extract(f"images/{name}", folder, filter="data")
    return [folder / "images" / name for name in names]


@pytest.mark.parametrize("name", ["nic", "sat"])
def test_it_says_what_it_said_when_it_was_trained(name, tmp_path):
    said = json.loads((model_folder(name) / "captions.json").read_text())
    dev_photos(said, tmp_path)
    assert say(mc.load(name, device="cpu"), tmp_path / "images", list(said)) == said


@pytest.mark.parametrize("name", ["lstm-q", "san"])
def test_it_answers_what_it_answered_when_it_was_trained(name, tmp_path):
    said = json.loads((model_folder(name) / "answers.json").read_text())
    photos = dev_photos([asked["image"] for asked in said], tmp_path)
    found = mc.explain(mc.load(name, device="cpu"), photos, question=[asked["question"] for asked in said])
    assert [e.text for e in found] == [asked["answer"] for asked in said]


def test_questions_about_the_sample_photos(lstm_q):
    asked = ["what colour is the dog?", "where is the dog?", "is there a dog in the photo?"]
    colour, place, there = mc.explain(lstm_q, SAMPLES / "dog.jpg", question=asked)
    assert colour.text in {"brown", "black", "black and brown", "tan"}
    assert place.text in {"grass", "field", "yard"}
    assert there.text == "yes"
    assert min(float(e.reliance[0]) for e in (colour, place)) > 0.5
    assert lstm_q.network.encoder.trunk[0].weight.equal(mc.load("nic", device="cpu").network.encoder.trunk[0].weight)


def test_the_demo_photo_is_understood_and_its_dog_found(nic):
    e = mc.explain(nic, SAMPLES / "dog.jpg")
    assert "dog" in e.text
    assert "grass" in e.text or "field" in e.text
    dog = e["dog"]
    assert dog.reliance > e.reliance[0]  # "a" owes the photo less
    assert max(part.reliance for part in (dog, e["brown"])) > 0.5  # after "a brown and black" it is nearly sure of "dog"
    heat = e.heatmap("dog")
    y, x = divmod(int(heat.argmax()), heat.shape[1])
    left, top, right, bottom = DOG
    assert left < x / heat.shape[1] < right
    assert top < y / heat.shape[0] < bottom


DOG = (0.1, 0.05, 0.95, 0.98)  # where the dog is, in fractions of the photo


def test_evidence_adds_up_on_real_photos(nic):
    photos = sorted(SAMPLES.glob("*.jpg"))
    for e in mc.explain(nic, photos, n_steps=64):
        for gap, reliance in zip(e.completeness.tolist(), e.reliance.tolist(), strict=True):
            assert abs(gap) <= max(0.01, 0.01 * abs(reliance))


def test_one_photo_in_a_batch_or_alone(nic):
    photos = sorted(SAMPLES.glob("*.jpg"))
    together = mc.explain(nic, photos)
    for photo, e in zip(photos, together, strict=True):
        alone = mc.explain(nic, photo)
        assert alone.text == e.text
        assert (alone.maps - e.maps).abs().max() < 1e-4


def test_the_twin_looks_at_the_dog_when_it_says_dog():
    e = mc.explain(mc.load("sat", device="cpu"), SAMPLES / "dog.jpg", text="a dog runs on the grass", method="attention")
    y, x = divmod(int(e["dog"].map.argmax()), 14)
    left, top, right, bottom = DOG
    assert left < (x + 0.5) / 14 < right
    assert top < (y + 0.5) / 14 < bottom
