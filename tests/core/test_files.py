"""Which files are photos."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from multimodal_cam.core.files import photos_in
from multimodal_cam.core.signatures import write_signature


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_photos_of_folders_are_found_at_every_depth(tmp_path: Path) -> None:
    make(tmp_path, "b.JPG", "a.png", "deep/er/c.webp", "note.txt", ".hidden.jpg", ".git/d.jpg")
    found = photos_in(["nowhere.jpg", str(tmp_path)])
    assert found == ["nowhere.jpg", *(str(tmp_path / name) for name in ("a.png", "b.JPG", "deep/er/c.webp"))]


def test_what_this_library_wrote_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "a.png", "report/index.png", "saved/image.png", "old/image.png", "old/figure.png")
    write_signature(tmp_path / "report", "report")
    write_signature(tmp_path / "saved", "explanation")
    (tmp_path / "old" / "manifest.json").write_text(json.dumps({"files": {"image.png": "1", "maps.safetensors": "2"}}))
    with caplog.at_level(logging.WARNING):
        assert photos_in([str(tmp_path)]) == [str(tmp_path / "a.png")]
    assert all(f"{tmp_path / name}" in caplog.text for name in ("report", "saved", "old"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", '{"name": "a web application", "icons": []}'),
        ("manifest.json", '{"files": {"main.js": "static/main.js"}}'),
        ("manifest.json", "no JSON"),
        ("manifest.json", "[1, 2]"),
        ("results.jsonl", '{"image": "of another program"}'),
        ("run.json", "{}"),
        (".multimodal-cam", "not a signature"),
        (".multimodal-cam", '{"format": 99, "kind": "report"}'),
    ],
)
def test_folders_of_others_are_searched_whatever_their_files_are_called(tmp_path: Path, name: str, content: str) -> None:
    make(tmp_path, "app/icon.png")
    (tmp_path / "app" / name).write_text(content)
    assert photos_in([str(tmp_path)]) == [str(tmp_path / "app" / "icon.png")]


def test_a_folder_without_photos(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no photos in .*looked for \.avif"):
        photos_in([str(tmp_path)])
