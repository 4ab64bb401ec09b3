"""`module:function` and `file.py:function`: found from the current folder, and every failure says what to do."""

import subprocess
import sys
from pathlib import Path

import pytest
from networks import noise_image

import multimodal_cam as mc
from multimodal_cam.adapters.contract import UnknownModelError

SOURCE = """
from parts_of_mine import network
import multimodal_cam as mc

def make():
    from more_parts import LABELS
    return mc.classifier(network(), labels=LABELS, image_size=32, outputs="logits")

def make_for(labels):
    return mc.classifier(network(), labels=labels, image_size=32)

ready = make()
bare = network
nothing = lambda: None
number = 7
lookup = lambda: {}['cat']
"""
PARTS = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_model.py").write_text(SOURCE)
    (tmp_path / "parts_of_mine.py").write_text(PARTS)
    (tmp_path / "more_parts.py").write_text("LABELS = ['cat', 'dog', 'hen']")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "another.py").write_text("from my_model import make as build")
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there")
    (tmp_path / "unwritten.py").write_text("def make(")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    loaded = set(sys.modules)
    yield tmp_path
    for name in {name for name in set(sys.modules) - loaded if str(tmp_path) in str(getattr(sys.modules[name], "__path__", ""))}:
        del sys.modules[name]
    for name in ("my_model", "parts_of_mine", "more_parts", "broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "name", ["my_model.py:make", "./my_model.py:make", "my_model:make", "my_model.py:ready", "inner.another:build"]
)
def test_a_model_of_the_current_folder(folder, name):
    before = list(sys.path)
    assert mc.explain(mc.load(name, device="cpu"), noise_image()).text in ("cat", "dog", "hen")
    assert sys.path == before


def test_a_file_elsewhere_finds_its_neighbours(folder, monkeypatch):
    monkeypatch.chdir(Path("/"))
    assert mc.load(f"{folder}/my_model.py:make", device="cpu").task == "classification"


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("your_model.py:make", UnknownModelError, "there is no file your_model.py here, in "),
        ("your_model:make", UnknownModelError, "there is no module 'your_model', neither installed nor here.*file.py:function"),
        ("my_model.py:mkae", ValueError, "my_model.py has no 'mkae'; it has make"),
        ("my_model:mkae", ValueError, "my_model has no 'mkae'; it has make"),
        ("my_model.py:make_for", ValueError, r"is called without arguments, but takes \(labels\): give them defaults"),
        ("my_model.py:bare", ValueError, "my_model.py:bare gives a Sequential, expected what captioner"),
        ("my_model.py:nothing", ValueError, "my_model.py:nothing gives None, .*: return it"),
        ("my_model.py:number", ValueError, "my_model.py:number is an int, expected a function"),
        ("my_model.py:lookup", ValueError, r"my_model.py:lookup fails: KeyError: cat, at .*my_model.py:\d+"),
        ("unwritten.py:make", ValueError, "unwritten.py:make fails: SyntaxError: .*line 1"),
        ("broken.py:make", ModuleNotFoundError, "a_module_that_is_not_there"),
        ("broken:make", ModuleNotFoundError, "a_module_that_is_not_there"),
        ("my_model.py", UnknownModelError, "file.py:function"),
    ],
)
def test_what_fails_says_why(folder, name, error, match):
    with pytest.raises(error, match=match):
        mc.load(name, device="cpu")


def test_the_program_takes_a_file_of_the_current_folder(folder):
    noise_image().save("photo.png")
    program = [Path(sys.executable).parent / "multimodal-cam", "classify", "photo.png", "--json", "--model", "my_model.py:make"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any(label in done.stdout for label in ("cat", "dog", "hen"))
