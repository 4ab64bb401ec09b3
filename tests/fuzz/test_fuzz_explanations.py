"""Saved explanations with edited manifests, broken files, and things in their place that are no files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mutations import Tally, byte_mutations, json_mutations, odd_files, outcome_of, sample
from safetensors.torch import load_file, save_file
from toys import toy_explanation

import multimodal_cam as mc
from multimodal_cam.core.signatures import SIGNATURE

FILES = ("manifest.json", "maps.safetensors", "image.png")
pytestmark = pytest.mark.parametrize("most", [150, pytest.param(None, marks=pytest.mark.slow)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_explanation("a brown dog").save(tmp_path / "saved")


def use(folder: Path) -> None:
    """Load the explanation and ask it for what people ask it for."""
    e = mc.Explanation.load(folder)
    if not e.words:
        return
    for part in (e.maps, e.scores, e.reliance, e.completeness, e.words, e.question_words, e.answer_parts, e.instead_of):
        assert part is None or len(part) >= 0
    e.whole()
    e.heatmap(0)
    repr(e)


def unsign(folder: Path) -> None:
    """Make the folder one that somebody edited by hand and gave matching hashes."""
    (folder / SIGNATURE).unlink(missing_ok=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES[1:]}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"files": hashes}))


def tried(tally: Tally, cases: list[tuple[str, Callable[[Path], None]]], folder: Path, *, is_right: bool) -> None:
    for name, change in cases:
        copy = folder.parent / "copy"
        shutil.copytree(folder, copy)
        change(copy)
        clear = (mc.BrokenFile, FileNotFoundError)
        tally.add(name, outcome_of(lambda copy=copy: use(copy), clear=clear, path=copy, is_right=is_right))
        shutil.rmtree(copy)
    print(tally.report())
    assert tally.faults == []


def written(name: str, content: str | bytes) -> Callable[[Path], None]:
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data) and None


@pytest.mark.parametrize("signed", [True, False])
def test_edited_manifests(folder: Path, signed: bool, most: int | None) -> None:
    """Every edit is noticed by the signature; without one, what fits together is read, all else is refused."""
    if not signed:
        unsign(folder)
    document = json.loads((folder / "manifest.json").read_text())
    cases = [(name, written("manifest.json", text)) for name, text in json_mutations(document)]
    tried(Tally(f"manifests, signed: {signed}"), sample(cases, most), folder, is_right=not signed)


@pytest.mark.parametrize("name", FILES)
def test_broken_files(folder: Path, name: str, most: int | None) -> None:
    data = (folder / name).read_bytes()
    cases = [(case, written(name, broken)) for case, broken in byte_mutations(data, most or 300, seed=1)]
    for index, (case, _) in enumerate(odd_files(folder / name)):
        cases.append((case, lambda copy, index=index: odd_files(copy / name)[index][1]()))
    tried(Tally(f"{name}, broken"), sample(cases, most), folder, is_right=False)


def test_tensors_that_do_not_fit(folder: Path, most: int | None) -> None:
    del most
    tensors = load_file(folder / "maps.safetensors")

    def saved(changed: dict[str, torch.Tensor]) -> Callable[[Path], None]:
        def change(copy: Path) -> None:
            save_file(changed, copy / "maps.safetensors")
            unsign(copy)

        return change

    cases = []
    for name, tensor in tensors.items():
        variants = {
            "shorter": tensor[:-1].clone(), "longer": torch.cat([tensor, tensor]), "int": tensor.long(), "half": tensor.half(),
            "more axes": tensor[None].clone(), "empty": tensor[:0].clone(), "scalar": torch.tensor(1.0),
        }  # fmt: skip
        cases += [(f"{name} {case}", saved(tensors | {name: value})) for case, value in variants.items()]
        needed = name != "token_changes"  # without it, there is no completeness
        if needed:
            cases.append((f"{name} missing", saved({key: value for key, value in tensors.items() if key != name})))
    cases.append(("one too many", saved(tensors | {"extra": torch.zeros(3)})))
    tried(Tally("tensors"), cases, folder, is_right=False)


def test_a_photo_that_was_swapped(folder: Path, most: int | None) -> None:
    del most
    other = toy_explanation("a brown dog").image.resize((40, 30))
    other.save(folder / "image.png")
    with pytest.raises(mc.BrokenFile, match=r"image.png: expected the file that was saved, got one that was changed since: "):
        mc.Explanation.load(folder)
    unsign(folder)
    with pytest.raises(mc.BrokenFile, match=r"expected the photo that was explained, 160 x 120 pixels, got 40 x 30: "):
        mc.Explanation.load(folder)
