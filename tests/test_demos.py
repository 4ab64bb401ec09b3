"""What a newcomer runs first does what it says."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

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
    caption, answer, page = capsys.readouterr().out.splitlines()
    assert "dog" in caption
    assert re.fullmatch(r"what is the dog doing\? (\w+ing)", answer)
    assert Path(page) == tmp_path / "demo" / "index.html"
    html = Path(page).read_text()
    assert all(word in html for word in caption.split())


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


def run_demo(name, tmp_path, monkeypatch, capsys):
    """The lines that a demo prints; it may write where it stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    with torch.random.fork_rng():
        runpy.run_path(str(ROOT / "demos" / name), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_a_policy_looks_at_the_bright_square(tmp_path, monkeypatch, capsys):
    where, looked, picture = run_demo("policy.py", tmp_path, monkeypatch, capsys)
    (row, column), (peak_row, peak_column) = numbers(where), numbers(looked)
    assert abs(row - peak_row) <= 4
    assert abs(column - peak_column) <= 4
    steps = {"up": 15.5 - row, "down": row - 15.5, "left": 15.5 - column, "right": column - 15.5}
    assert steps[where.split()[-1]] > 0  # the action brings it nearer
    with Image.open(tmp_path / picture) as image:
        assert image.size == (256, 256)


def test_a_text_is_similar_because_of_its_square(tmp_path, monkeypatch, capsys):
    *texts, picture = run_demo("similarity.py", tmp_path, monkeypatch, capsys)
    assert len(texts) == 2
    for text in texts:
        similarity, row, column, peak_row, peak_column = numbers(text)
        assert similarity > 0.3
        assert abs(row - peak_row) <= 4
        assert abs(column - peak_column) <= 4
    with Image.open(tmp_path / picture) as image:
        assert image.size == (768, 256)


@pytest.mark.parametrize("demo", ["policy.py", "similarity.py"])
def test_what_explain_score_needs_is_short(demo):
    needed = (ROOT / "demos" / demo).read_text().split("# From here on")[1].split("if __name__")[0]
    assert sum(bool(line.strip()) for line in needed.splitlines()[1:]) < 20


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf_captioner", [r"it says: ", r"dog +-\d+\.\d\d", r"a brown dog +[+-]\d", r"a dog rather than a cat: [+-]\d"]),
        ("hf_vqa", [r"what is the dog doing\? ", r"'grass': log p -\d", r"'grass' rather than 'ball': [+-]\d"]),
        ("hf_chat", [r"ok     slopes", r"grid 6 x 6", r"What is the dog doing\? '", r"grass    from the photo [+-]\d"]),
    ],
)
def test_hugging_face_models(name, said, tmp_path, monkeypatch, capsys):
    """On tiny ones, and said so; one line to change for a real one."""
    monkeypatch.setattr(sys, "argv", [name, "--out", str(tmp_path / "out")])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(ROOT)  # `python -m` is run there
    runpy.run_module(f"demos.{name}", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "explain nothing" in lines[0]
    assert not any(line.startswith("FAILED") for line in lines)
    for pattern in said:
        assert any(re.search(pattern, line) for line in lines), pattern
    assert Path(lines[-1]) == tmp_path / "out" / "index.html"
    assert (tmp_path / "out" / "figure.png").stat().st_size > 10_000
    source = (ROOT / "demos" / f"{name}.py").read_text()
    assert len(re.findall(r'^MODEL = tiny\.TINY  # the line to change: "[\w-]+/[\w.-]+"', source, re.MULTILINE)) == 1


@pytest.mark.parametrize("section", ["**Where did the model look"])
def test_the_readme_runs_as_it_stands(section, tmp_path, monkeypatch):
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
    for name in [name for name in mc.METHODS if name != "attention"]:
        assert f"`{name}`" in readme, name
    for score in mc.SCORES:
        assert f"`{score}`" in readme, score
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link
