"""Which versions: what the lock holds, and families that a version of transformers breaks itself."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import multimodal_cam as mc
from multimodal_cam.adapters.hf import broken_versions, checkpoint

ROOT = Path(__file__).parents[1]
LLAMA4 = "Llama4ForConditionalGeneration"
SAID = rf"^transformers 5\.24\.0 breaks Llama 4 \({LLAMA4}\) itself: .*image_outputs.* pip install 'transformers!=5\.24\.\*'$"


def wanted(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for with an extra, those that it names in turn included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found, extras = list(map(Requirement, project["dependencies"])), [extra]
    for name in extras:
        for requirement in map(Requirement, project["optional-dependencies"][name]):
            if requirement.name == project["name"]:
                extras += sorted(requirement.extras)
            else:
                found.append(requirement)
    return found


def locked() -> dict[str, tuple[str, str]]:
    """Name -> version and what follows it, as requirements.lock has it."""
    text = re.sub(r"(?m)^ *#.*\n", "", (ROOT / "requirements.lock").read_text(encoding="utf-8")).replace("\\\n", "")
    entries = [re.fullmatch(r"([\w.-]+)==(\S+)(.*)", line) for line in text.splitlines()]
    assert None not in entries
    return {entry[1]: (entry[2], entry[3]) for entry in entries}


def test_the_lock_holds_all_that_dev_asks_for():
    """Else `make lock` was forgotten."""
    versions = locked()
    for requirement in wanted("dev"):
        version, _ = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_lock_says_what_it_is_and_not_where_it_comes_from():
    for name, (_, rest) in locked().items():
        assert "--hash=sha256:" in rest, name
    assert not re.search(r"://|--(extra-)?index|--find-links", (ROOT / "requirements.lock").read_text(encoding="utf-8"))


def test_every_family_works_with_the_lock():
    version, _ = locked()["transformers"]
    assert [entry for entry in broken_versions.BROKEN if broken_versions.broken(entry.architecture, version)] == []


@pytest.mark.parametrize(
    ("version", "works"),
    [("5.23.0", True), ("5.24.0", False), ("5.24.1.dev0", False), ("5.24.3", False), ("5.25.0", True)],
)
def test_a_broken_family_is_known_by_its_version(version, works):
    assert (broken_versions.broken(LLAMA4, version) is None) == works
    assert broken_versions.broken("LlavaForConditionalGeneration", version) is None


def test_a_broken_family_is_told_before_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.__version__", "5.24.0")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama4", "architectures": [LLAMA4]}))
    with pytest.raises(ImportError, match=SAID):
        mc.load(tmp_path)
    model = type(LLAMA4, (), {})()
    with pytest.raises(ImportError, match=SAID):
        checkpoint.adapt(model, SimpleNamespace(), "mine")
