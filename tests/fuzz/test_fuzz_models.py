"""Folders of trained models whose config, words or weights are broken, edited, or do not belong together."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mutations import Tally, byte_mutations, json_mutations, odd_files, outcome_of, sample
from safetensors.torch import load_file, save_file
from torch import Tensor

import multimodal_cam as mc
from multimodal_cam.models.bundle import load_model, model_folder, save_model
from multimodal_cam.models.lstm_q.network import LSTMQ
from multimodal_cam.models.model_config import CONFIG_HASH
from multimodal_cam.models.nic.network import NIC
from multimodal_cam.models.vocabulary import Vocabulary

WORDS = Vocabulary(("<eos>", "<bos>", "<unk>", "dog", "cat"))
CLEAR = (mc.BrokenFile, FileNotFoundError)
sizes = pytest.mark.parametrize("most", [12, pytest.param(None, marks=pytest.mark.slow)])


@pytest.fixture(scope="module", params=["nic", "lstm-q"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with the encoder of `nic`, whose tensors are not stored again."""
    out = tmp_path_factory.mktemp("models") / request.param
    out.mkdir()
    given = load_model(model_folder(request.param)).network.config
    answers = ("yes", "no") if request.param == "lstm-q" else ()
    small = {"vocabulary_size": len(WORDS), "width": 8} | ({"answers": 2, "embedding": 4, "hidden": 4} if answers else {})
    network = (LSTMQ if answers else NIC)(replace(given, **small))
    network.encoder.load_state_dict(load_model(model_folder("nic")).network.encoder.state_dict())
    return save_model(network, WORDS, out, training={"history": [{"epoch": 1, "train": 0.5}]}, answers=answers, encoder="nic")


def tried(tally: Tally, cases: list[tuple[str, Callable[[Path], object]]], folder: Path, tmp_path: Path) -> None:
    for name, change in cases:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        change(copy)
        tally.add(name, outcome_of(lambda copy=copy: mc.load(str(copy), device="cpu"), clear=CLEAR, path=copy, is_right=False))
        shutil.rmtree(copy)
    print(tally.report())
    assert tally.faults == []


def reweighed(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Save other weights, with hashes that match."""
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | {"sha256": _hash(folder / "model.safetensors")}
    del config[CONFIG_HASH]
    (folder / "config.json").write_text(json.dumps(config))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@sizes
def test_edited_configs(folder: Path, tmp_path: Path, most: int | None) -> None:
    document = json.loads((folder / "config.json").read_text())
    cases = [
        (name, lambda copy, text=text: (copy / "config.json").write_text(text, "utf-8", "surrogatepass"))
        for name, text in json_mutations(document)
        if not name.startswith(f"{CONFIG_HASH} = missing")  # as an older version wrote it
    ]
    tried(Tally(f"configs of {folder.name}"), sample(cases, most), folder, tmp_path)


@sizes
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_broken_files(folder: Path, tmp_path: Path, name: str, most: int | None) -> None:
    data = (folder / name).read_bytes()
    cases: list[tuple[str, Callable[[Path], object]]] = [
        (case, lambda copy, broken=broken: (copy / name).write_bytes(broken))
        for case, broken in byte_mutations(data, 100, seed=2)
    ]
    for index, (case, _) in enumerate(odd_files(folder / name)):
        cases.append((case, lambda copy, index=index: odd_files(copy / name)[index][1]()))
    tried(Tally(f"{name} of {folder.name}, broken"), sample(cases, most), folder, tmp_path)


@sizes
def test_weights_that_do_not_fit(folder: Path, tmp_path: Path, most: int | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    cases: list[tuple[str, Callable[[Path], object]]] = []
    for name, tensor in tensors.items():
        changed = {
            "longer": torch.cat([tensor, tensor]), "shorter": tensor[:-1].clone(), "more axes": tensor[None].clone(),
            "NaN": tensor * float("nan"), "infinite": tensor / 0.0 + 1 / torch.zeros(1), "integers": tensor.long(),
        }  # fmt: skip
        cases += [(f"{name} {case}", lambda c, n=name, v=v: reweighed(c, tensors | {n: v})) for case, v in changed.items()]
        cases.append((f"{name} missing", lambda c, n=name: reweighed(c, {k: v for k, v in tensors.items() if k != n})))
    cases.append(("one too many", lambda c: reweighed(c, tensors | {"extra.weight": torch.zeros(2)})))
    cases.append(("none", lambda c: reweighed(c, {})))
    tried(Tally(f"weights of {folder.name}"), sample(cases, most), folder, tmp_path)


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    del config[CONFIG_HASH]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocabulary": ["<eos>", "<bos>", "<unk>", "dog"]}, "vocabulary as 5 different words"),
        ({"vocabulary": ["<eos>", "<bos>", "<unk>", "dog", "dog"]}, "vocabulary as 5 different words"),
        ({"kind": "resnet"}, "kind as one of lstm-q, nic"),
        ({"encoder": "hf-hub:timm/x"}, "encoder as an object, got 'hf-hub:timm/x'"),
        ({"encoder": {"model": "hf-hub:timm/x", "sha256": ""}}, "encoder.model as a bundled model or a folder"),
        ({"encoder": {"model": "gone", "sha256": ""}}, "a model that is here, got 'gone'"),
        ({"sha256": "0" * 64}, "model.safetensors: expected the file that config.json belongs to"),
    ],
)
def test_edits_are_said(folder: Path, tmp_path: Path, changes: dict[str, object], words: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    edit(tmp_path / "copy", **changes)
    with pytest.raises(mc.BrokenFile, match=words):
        mc.load(str(tmp_path / "copy"))


@pytest.mark.parametrize(
    "encoder", ["hf-hub:timm/resnet18.a1_in1k", "hf_hub:x/y", "local-dir:/tmp", "../x", "no_such_network", "resnet18"]
)
def test_an_encoder_is_a_network_of_timm_and_nothing_is_fetched(
    folder: Path, tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())["config"]
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    edit(tmp_path / "copy", config=config | {"encoder": encoder})
    with pytest.raises(mc.BrokenFile, match=r"the name of a network of timm|of which a network can be built"):
        mc.load(str(tmp_path / "copy"))


def test_an_edit_that_fits_is_noticed_by_the_hash(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["vocabulary"][-2:] = reversed(config["vocabulary"][-2:])
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(mc.BrokenFile, match="config.json: expected what was written there, by its hash"):
        mc.load(str(tmp_path / "copy"))


def test_loading_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load_model(model_folder("nic"))
    assert torch.equal(before, torch.get_rng_state())


def test_tied_weights_are_one_parameter() -> None:
    network = load_model(model_folder("nic")).network
    assert network.readout.from_state.weight is network.embedding.weight
