"""Packages of the extras: what works without them, and what is said where one is needed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from multimodal_cam.extras import EXTRAS, MissingPackageError, is_installed, needed_by

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(extra: str) -> list[str]:
    """Names of what an extra brings, those of the extras inside it included, with underscores."""
    found = []
    for entry in PROJECT["optional-dependencies"][extra]:
        inner = re.fullmatch(r"multimodal-cam\[(.+)\]", entry)
        found += [name for other in inner[1].split(",") for name in requirements(other)] if inner else [bare(entry)]
    return found


def bare(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return name[0].replace("-", "_").lower()


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_each_module_is_brought_by_its_extra_and_not_by_the_core(module: str, extra: str) -> None:
    assert any(name in (module, f"{module}_torch") for name in requirements(extra))
    assert module not in map(bare, PROJECT["dependencies"])
    assert module == "ray" or set(requirements(extra)) <= set(requirements("all")) <= set(requirements("dev"))


def test_what_an_extra_brings_has_a_lower_bound() -> None:
    for extra in ("hf", "peft", "accelerate", "phrases", "classify", "open_clip", "dicom", "study", "ray", "train"):
        for entry in PROJECT["optional-dependencies"][extra]:
            assert entry.startswith("multimodal-cam[") or re.search(r"[>=]=\d", entry), entry


def test_readme_names_the_extras() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Install\n")[2]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert named == set(PROJECT["optional-dependencies"]) - {"bench", "dev"}


def test_the_error_names_the_extra_and_comes_for_that_package_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with (
        pytest.raises(
            MissingPackageError, match=r'^this needs pydicom, which is not installed: pip install "multimodal-cam\[dicom\]"$'
        ),
        needed_by("this", "pydicom"),
    ):
        import pydicom  # noqa: F401
    with pytest.raises(MissingPackageError, match=r'pip install "no_such_package"$'), needed_by("this", "no_such_package"):
        import no_such_package  # noqa: F401
    with pytest.raises(MissingPackageError, match=r"\[train\]"), needed_by("this", "pydicom", extra="train"):
        import pydicom.pixels  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as caught, needed_by("this", "pydicom"):
        import no_such_package  # noqa: F401  something else is missing
    assert not isinstance(caught.value, MissingPackageError)
    with pytest.raises(ImportError, match="cannot import name") as caught, needed_by("this", "json"):
        from json import no_such_name  # noqa: F401  there, but broken or old
    assert not isinstance(caught.value, MissingPackageError)
    assert is_installed("multimodal-cam")
    assert not is_installed("no-such-package")


WITHOUT = f"""
import os, sys
class Hidden:  # as if the packages of the extras, and pipelines of other names, were not installed
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        hidden = name.partition('.')[0] in {{*{sorted(EXTRAS)!r}, 'en_core_web_sm', 'tokenizers'}}
        return None if hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name): return getattr(self.finder, name)
sys.meta_path = [Hidden(finder) for finder in sys.meta_path]
import json
import multimodal_cam as mc
from multimodal_cam.extras import MissingPackageError
from typer.testing import CliRunner
def said(function, *args, **options):
    try:
        function(*args, **options)
    except MissingPackageError as error:
        return str(error)
    return 'no error'
def command(*args):
    from multimodal_cam.cli.app import app
    done = CliRunner().invoke(app, args)
    lines = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    return lines[0] if lines else f'{{done.exit_code}} {{done.stderr}}'
"""
WORKING = """
nic = mc.load('nic')
e = mc.explain(nic, photo)
e.figure(), e.heatmap('dog'), e.to_html('page.html'), e.save('folder')
assert mc.Explanation.load('folder').text == e.text
assert 'No phrases: spaCy' in open('page.html', encoding='utf-8').read()
other = mc.explain(nic, photo, method='grad_cam_pp')  # its phrases would have been computed beside the words
other.whole(), other.save('other')
assert 'phrases' in said(mc.Explanation.load('other').phrases)
assert mc.explain(mc.load('lstm-q'), photo, question='what is it?').answers
found = {
    'phrases': said(e.phrases),
    'folder': said(mc.load, 'checkpoint'),
    'hub': said(mc.load, 'owner/name'),
    'adapter': said(mc.load, 'adapter'),
    'classifier': said(mc.load, 'efficientnet_lite0'),
    'open_clip': said(mc.load, 'open_clip:RN50'),
    'dicom': said(mc.explain, nic, 'scan.dcm'),
    'caption': command('caption', photo, '--out', 'caption'),
    'vqa': command('vqa', photo, 'what is it?', '--out', 'vqa'),
    'caption --phrases': command('caption', photo, '--phrases', '--json'),
    'caption --format parquet': command('caption', photo, '--format', 'parquet', '--out', 'table'),
    'caption --model': command('caption', photo, '--model', 'checkpoint'),
    'classify': command('classify', photo),
    'study captions': command('study', 'captions', '--images', '.', '--entities', '.', '--split', 'split.txt', '--out', 'study'),
    'eval captions': command('eval', 'captions', '--images', '.', '--captions', 'captions.csv', '--split', 'split.txt'),
    'make-questions': command('data', 'make-questions', '--captions', 'captions.csv', '--split', 'split.txt', '--out', 'q.jsonl'),
    'train captioner': command('train', 'captioner', '--images', '.', '--captions', 'captions.csv', '--split', 'split.txt',
                               '--dev', 'split.txt', '--min-count', '1', '--out', 'trained'),
}
print(json.dumps(found))
"""
EXTRA_OF = {
    "phrases": "phrases",
    "folder": "hf",
    "hub": "hf",
    "adapter": "hf",
    "classifier": "classify",
    "open_clip": "open_clip",
    "dicom": "dicom",
    "caption --phrases": "phrases",
    "caption --format parquet": "study",
    "caption --model": "hf",
    "classify": "classify",
    "study captions": "study",
    "eval captions": "train",
    "make-questions": "phrases",
    "train captioner": "train",
}


@pytest.mark.slow
def test_the_core_alone_runs_the_bundled_models_and_names_the_extra_of_the_rest(tmp_path: Path) -> None:
    import json

    photo = tmp_path / "dog.jpg"
    photo.write_bytes((ROOT / "data" / "samples" / "dog.jpg").read_bytes())
    (tmp_path / "scan.dcm").write_bytes(bytes(128) + b"DICM")
    for folder, file, content in (
        ("checkpoint", "config.json", {"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]}),
        ("adapter", "adapter_config.json", {"base_model_name_or_path": "checkpoint"}),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(json.dumps(content))
    (tmp_path / "captions.csv").write_text("image,caption\ndog.jpg,a dog stands on the grass\n")
    (tmp_path / "split.txt").write_text("dog.jpg\n")
    code = f"{WITHOUT}\nphoto = 'dog.jpg'\n{WORKING}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [found.pop(name).partition(" ")[0] for name in ("caption", "vqa")] == ["0", "0"]
    for name, text in found.items():
        assert re.search(rf' needs \w+, which is not installed: pip install "multimodal-cam\[{EXTRA_OF[name]}\]"$', text), (
            name,
            text,
        )
