"""What a newcomer runs first does what it says."""

import re
import runpy
import sys
from pathlib import Path

import pytest

import multimodal_cam as mc

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "data" / "samples" / "dog.jpg"


def test_own_captioner(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["own_captioner.py", str(PHOTO)])
    runpy.run_path(str(ROOT / "demos" / "own_captioner.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["a", "dog", "sits", "on", "the", "grass", "own_captioner.html"]
    assert "(7, 7)" in lines[0]
    assert (tmp_path / "own_captioner.html").stat().st_size > 10_000


def test_own_captioner_is_short():
    source = (ROOT / "demos" / "own_captioner.py").read_text()
    needed = source.split("# From here on")[1].split("for word, part")[0]
    assert sum(bool(line.strip()) for line in needed.splitlines()[1:]) < 15


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo.py", "--out", str(tmp_path / "demo")])
    runpy.run_path(str(ROOT / "demos" / "demo.py"), run_name="__main__")
    caption, page = capsys.readouterr().out.splitlines()
    assert "dog" in caption
    assert Path(page) == tmp_path / "demo" / "index.html"
    html = Path(page).read_text()
    assert all(word in html for word in caption.split())


@pytest.mark.parametrize("section", ["**Where did the model look"])
def test_the_readme_runs_as_it_stands(section, tmp_path, monkeypatch):
    from PIL import Image

    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text().split(section)[1], re.DOTALL)[1]
    Image.open(PHOTO).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert isinstance(names["e"], mc.Explanation)
    assert (tmp_path / "page.html").is_file()
    assert (tmp_path / "folder" / "manifest.json").is_file()


def test_the_readme_names_what_there_is():
    readme = (ROOT / "README.md").read_text()
    for name in ["evidence", *mc.METHODS]:
        assert f"`{name}`" in readme, name
    for score in mc.SCORES:
        assert f"`{score}`" in readme, score
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link
