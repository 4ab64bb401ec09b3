"""Channels of a planted network, one for each colour, get the names of the things that have that colour."""

from __future__ import annotations

import json
from pathlib import Path

import networks
import pytest
import torch
from PIL import Image
from test_cli import run
from torch import Tensor, nn

import multimodal_cam as mc
from multimodal_cam.core.channel_names import ChannelLabel, read_channel_names, write_channel_names
from multimodal_cam.study.neurons.channel_labelling import label_channels, labelled_photos
from multimodal_cam.study.neurons.name_agreement import agreement_text, name_agreement

pytest.importorskip("spacy")

RED, GREEN = (255, 0, 0), (0, 255, 0)
CELL = networks.SIDE // 4
CELLS = [((0, 0), (3, 2)), ((1, 2), (0, 3)), ((3, 3), (1, 0)), ((2, 1), (0, 0))]  # column and row of the dog, and of the ball
MODEL = "test_neurons:planted"
PATHS = ("--quantile", str(1 / 16), "--min-count", "2", "--device", "cpu")


class ColourWords(nn.Module):
    """`dog` is said in so far as there is red, `ball` in so far as there is green, the others as blue and white."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        logits = self.weight * features.mean(dim=(2, 3))
        return logits[:, None].expand(-1, ids.shape[1], -1)


def planted() -> mc.TaskAdapter:
    words = ["dog", "ball", "sky", "snow"]
    return mc.captioner(encoder=networks.ColourEncoder(), decoder=ColourWords(), tokenizer=words, preprocess=networks.to_tensor)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a red dog and a green ball, a cell each."""
    folder = tmp_path_factory.mktemp("neurons")
    for part in ("images", "Annotations", "Sentences"):
        (folder / part).mkdir()
    for i, things in enumerate(CELLS):
        image, objects = Image.new("RGB", (networks.SIDE, networks.SIDE)), ""
        for number, ((column, row), colour) in enumerate(zip(things, (RED, GREEN), strict=True), start=1):
            x0, y0, x1, y1 = column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL
            image.paste(colour, (x0, y0, x1, y1))
            box = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            objects += f"<object><name>{number}</name><bndbox>{box}</bndbox></object>"
        image.save(folder / "images" / f"{i}.png")
        size = f"<size><width>{networks.SIDE}</width><height>{networks.SIDE}</height></size>"
        (folder / "Annotations" / f"{i}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
        (folder / "Sentences" / f"{i}.txt").write_text("[/EN#1/animals dog] [/EN#2/other ball]\n")
    (folder / "split.txt").write_text("".join(f"{i}.png\n" for i in range(len(CELLS))))
    return folder


def test_a_channel_is_called_after_what_it_marks(data: Path) -> None:
    photos = labelled_photos(data / "images", data, [f"{i}.png" for i in range(len(CELLS))])
    assert {name: len(boxes) for name, boxes in photos[0].boxes.items()} == {"dog": 1, "ball": 1}
    names = label_channels(planted(), photos, quantile=1 / 16, min_count=2, batch_size=3)
    assert names.labels == {0: ChannelLabel("dog", 1), 1: ChannelLabel("ball", 1)}  # no photo has blue or white
    assert (names.photos, names.concepts) == (4, 2)
    with pytest.raises(ValueError, match=r"no concept is in 5 of the 4 photos.*--min-count"):
        label_channels(planted(), photos, min_count=5)
    with pytest.raises(ValueError, match="quantile: expected a share between 0 and 1, got 1"):
        label_channels(planted(), photos, quantile=1)


def test_names_are_compared_with_the_words_that_their_channels_speak_for(data: Path) -> None:
    model = planted()
    photos = labelled_photos(data / "images", data, [f"{i}.png" for i in range(len(CELLS))])
    names = label_channels(model, photos, quantile=1 / 16, min_count=2)
    found = name_agreement(model, names, [photo.image for photo in photos], data)
    assert (found.channels, found.detectors, found.names, found.nouns, found.nameable) == (4, 2, 2, 8, 8)
    assert (found.own.value, found.random.value, found.other_word.value) == (1, 1, 0)  # five of four channels are all
    assert "2 of 4 channels pass an IoU of 0.04, with 2 names" in agreement_text(found)
    assert found.record()["own"] == [1, 1, 1]
    with torch.no_grad():
        next(model.module.parameters()).add_(1)
    with pytest.raises(ValueError, match="other weights"):
        name_agreement(model, names, [photos[0].image], data)


def test_the_commands_write_names_and_measure_them(data: Path, tmp_path: Path) -> None:
    given = ["--images", data / "images", "--entities", data, "--split", data / "split.txt", "--model", MODEL]
    missing = run("neurons", "label", *given, *PATHS)
    assert missing.exit_code == 2
    assert "--out: " in missing.stderr
    assert "has no folder of ours" in missing.stderr
    file = tmp_path / "names.json"
    done = run("neurons", "label", *given, *PATHS, "--out", file)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{file}: 2 channels of ")
    assert read_channel_names(file).detectors == {0: "dog", 1: "ball"}
    scored = run("neurons", "score", *given, "--names", file, "--device", "cpu", "--json")
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["nameable"] == 8
    e = mc.explain(planted(), data / "images" / "0.png", text="dog", channels=file)
    assert e.explanation_text("dog").startswith("dog: because of channel 0 (dog)")


def test_a_bundled_model_has_the_names_beside_its_weights(data: Path, tmp_path: Path) -> None:
    model = planted()
    photos = labelled_photos(data / "images", data, ["0.png", "1.png"])
    names = label_channels(model, photos, quantile=1 / 16, min_count=2)
    model.folder = tmp_path  # type: ignore[attr-defined]
    assert mc.explain(model, photos[0].image, text="dog", channels=True).channel_names == {}
    write_channel_names(names, tmp_path / "channels.json")
    assert mc.explain(model, photos[0].image, text="dog", channels=True).channel_names == {0: "dog", 1: "ball"}
