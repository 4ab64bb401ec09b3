"""Report folders: pages, pictures, explanations."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import networks
import pytest
from PIL import Image
from safetensors import SafetensorError

import multimodal_cam as mc
from multimodal_cam.render import report_folder as reports
from multimodal_cam.render.report_folder import RECORDS, Report


@pytest.fixture(scope="module")
def planted() -> mc.Explanation:
    """Its words speak about one quadrant each: red NW, green NE, blue SW, white SE."""
    return mc.explain(networks.planted_captioner(), networks.quadrant_image(), text="red green blue white")


def test_a_report_has_pages_pictures_and_explanations(
    planted: mc.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "PHOTOS_A_PAGE", 2)
    report = Report(tmp_path)
    for name in ("a/x.jpg", "b/X.png", "index.html.jpg", ".."):
        report.add(name, planted)
    report.add("broken.jpg", mc.Failure("broken.jpg", ValueError("damaged")))
    report.finish()
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == {"x", "X-2", "index.html-2", "photo"}
    assert {path.name for path in tmp_path.iterdir()} - folders == {"index.html", "index-2.html", RECORDS}
    for folder in folders:
        assert mc.Explanation.load(tmp_path / folder).text == planted.text
        with Image.open(tmp_path / folder / "figure.png") as figure:
            assert figure.width > 100
    lines = [json.loads(line) for line in (tmp_path / RECORDS).read_text().splitlines()]
    assert [line["image"] for line in lines] == ["a/x.jpg", "b/X.png", "index.html.jpg", "..", "broken.jpg"]


def test_a_disk_that_is_full_for_the_maps(planted: mc.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Report(tmp_path).add("x.jpg", planted)
    assert caught.value.errno == errno.ENOSPC
