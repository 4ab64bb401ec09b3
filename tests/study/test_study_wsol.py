"""`study wsol`: ILSVRC's error on a tiny folder in its layout, and the error of phrases, against hits counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import networks
import pytest
import test_study
import torch
from PIL import Image
from test_cli import run
from torch import nn

import multimodal_cam as mc
from multimodal_cam.data.readers.ilsvrc import read_classes, read_photos
from multimodal_cam.metrics.overlap import best_iou
from multimodal_cam.study.wsol.class_error import class_errors
from multimodal_cam.study.wsol.localisation_error import CENTRE_BOX

pytest.importorskip("pyarrow")

CELL = networks.SIDE // 4
IDS = ("n01", "n02", "n03", "n04")
RED, GREEN = (255, 0, 0), (0, 255, 0)
LARGE, SMALL, ELSEWHERE = (0, 0, 3 * CELL, 3 * CELL), (3 * CELL, 3 * CELL, 4 * CELL, 4 * CELL), (24, 0, 32, 32)


def classifier() -> mc.TaskAdapter:
    """The class of a photo is its colour: red, green, blue, white."""
    network = nn.Sequential(networks.ColourEncoder(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return mc.classifier(
        network, labels=["red", "green", "blue", "white"], layer="0", preprocess=networks.to_tensor, outputs="logits"
    )


def add_photo(folder: Path, name: str, colours: dict[tuple[int, int, int, int], tuple[int, int, int]], *objects: object) -> None:
    """A photo with coloured boxes, and its annotation: WordNet id, box, WordNet id, box."""
    image = Image.new("RGB", (networks.SIDE, networks.SIDE))
    for box, colour in colours.items():
        image.paste(colour, box)
    image.save(folder / "Data" / "CLS-LOC" / "val" / f"{name}.JPEG", "PNG")
    xml = f"<annotation><size><width>{networks.SIDE}</width><height>{networks.SIDE}</height></size>"
    for wnid, (x0, y0, x1, y1) in zip(objects[::2], objects[1::2], strict=True):  # type: ignore[misc]
        box = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        xml += f"<object><name>{wnid}</name><bndbox>{box}</bndbox></object>"
    (folder / "Annotations" / "CLS-LOC" / "val" / f"{name}.xml").write_text(f"{xml}</annotation>")


@pytest.fixture(scope="module")
def ilsvrc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Right; right at top 5 only, the likeliest class is not there; a right class with its box elsewhere."""
    folder = tmp_path_factory.mktemp("ilsvrc")
    for part in ("Data", "Annotations"):
        (folder / part / "CLS-LOC" / "val").mkdir(parents=True)
    (folder / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} colour, hue\n" for wnid in IDS))
    add_photo(folder, "a", {LARGE: RED}, "n01", LARGE)
    add_photo(folder, "b", {LARGE: RED, SMALL: GREEN}, "n02", SMALL)
    add_photo(folder, "c", {LARGE: RED}, "n01", ELSEWHERE)
    return folder


def test_errors_are_those_counted_by_hand(ilsvrc: Path) -> None:
    assert read_classes(ilsvrc) == IDS
    photos = read_photos(ilsvrc)
    assert [photo.boxes for photo in photos][1] == {"n02": ((0.75, 0.75, 1.0, 1.0),)}
    rows = class_errors(classifier(), photos, IDS, ["grad_cam"], batch_size=2)
    found = {row["boxes"]: (row["top-1 error"], row["top-5 error"]) for row in rows}
    two, one = pytest.approx(2 / 3, abs=1e-4), pytest.approx(1 / 3, abs=1e-4)
    assert found["map"] == (two, one)
    assert found["whole image"] == (two, two)
    assert found["none: classification"] == (one, 0)
    assert found["another class's map"][0] == 1
    assert all(row["photos"] == 3 and row["top-1 error low"] <= row["top-1 error"] <= row["top-1 error high"] for row in rows)


def test_what_does_not_fit_is_said(ilsvrc: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 4 classes, LOC_synset_mapping.txt 3"):
        class_errors(classifier(), read_photos(ilsvrc), IDS[:3], ["grad_cam"])
    with pytest.raises(ValueError, match="is no classifier"):
        class_errors(networks.planted_captioner(), read_photos(ilsvrc), IDS, ["grad_cam"])
    with pytest.raises(FileNotFoundError, match="LOC_synset_mapping.txt"):
        read_classes(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected ILSVRC's folder"):
        read_photos(ilsvrc, "test")


def test_kaggles_layout_and_a_photo_without_boxes(ilsvrc: Path, tmp_path: Path) -> None:
    (tmp_path / "ILSVRC").symlink_to(ilsvrc)
    assert len(read_photos(tmp_path)) == 3
    assert read_classes(tmp_path) == IDS
    assert len(read_photos(tmp_path, limit=2)) == 2


def test_the_command_writes_the_table(ilsvrc: Path, tmp_path: Path) -> None:
    given = ["--models", "test_study_wsol:classifier", "--methods", "grad_cam", "--device", "cpu"]
    done = run("study", "wsol", "--ilsvrc", ilsvrc, *given, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out" / "wsol.json").read_text())
    assert [json.loads(line) for line in done.stdout.splitlines()] == rows
    assert len((tmp_path / "out" / "wsol.md").read_text().splitlines()) == 4 + len(rows)
    wrong = run("study", "wsol", "--out", tmp_path / "no")
    assert wrong.exit_code == 2
    assert "give either ILSVRC's folder" in wrong.stderr


def test_phrases_on_entities(tmp_path: Path) -> None:
    data = test_study.make_photos(tmp_path / "data", 3)
    given = ["--models", test_study.MODEL, "--methods", "grad_cam", "--device", "cpu"]
    done = run("study", "wsol", "--images", data / "images", "--entities", data, *given, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if row["span"] == "word"]
    errors = {(row["rule"], row["boxes"]): row["error"] for row in rows}
    truths = [(0, 0, 0.4, 0.4), (0.6, 0.6, 1, 1)]
    hit = best_iou(torch.tensor(CENTRE_BOX, dtype=torch.float64), truths[:1]) >= 0.5
    assert errors["none", "centre box"] == 1 - float(hit)
    assert errors["none", "whole image"] == 1
    assert errors["otsu", "map"] == 0  # the quadrant of the word, and no other
    assert errors["otsu", "another word's map"] == 1
