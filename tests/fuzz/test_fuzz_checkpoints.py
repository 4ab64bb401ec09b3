"""Hugging Face checkpoints that are broken, edited or hostile: nothing is drawn at random, fetched or run, and nothing hangs."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mutations import Tally, byte_mutations, outcome_of, sample, with_value
from networks import noise_image
from safetensors.torch import load_file, save_file

import multimodal_cam as mc

CLEAR = (ValueError, FileNotFoundError, ImportError, MemoryError)
sizes = pytest.mark.parametrize("most", [8, pytest.param(None, marks=pytest.mark.slow)])


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = next(folder.glob("*.safetensors"))
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit(folder: Path, name: str, **changes: object) -> None:
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))


@pytest.mark.parametrize("which", ["one", "encoder", "all"])
def test_missing_tensors_are_listed_and_never_drawn(folder: Path, which: str) -> None:
    names = sorted(load_file(next(folder.glob("*.safetensors"))))
    gone = {"one": names[-1:], "encoder": [n for n in names if "vision" in n], "all": names}[which]
    weights(folder, lambda tensors: [tensors.pop(name) for name in gone])
    with pytest.raises(mc.BrokenFile, match=r"lacks \d+ of the \d+ weights of BlipFor") as caught:
        mc.load(folder, device="cpu")
    assert str(folder) in str(caught.value)
    if which == "one":
        assert gone[0] in str(caught.value)


@sizes
def test_every_tensor_is_needed_and_of_its_shape(folder: Path, most: int | None) -> None:
    tensors = load_file(next(folder.glob("*.safetensors")))
    tally = Tally("tensors of a checkpoint")
    cases = [(name, kind) for name in sorted(tensors) for kind in ("missing", "longer", "more axes")]
    for name, kind in sample(cases, most):
        changed = dict(tensors)
        if kind == "missing":
            del changed[name]
        else:
            changed[name] = (
                torch.cat([tensors[name]] * 2) if tensors[name].ndim and kind == "longer" else tensors[name][None].clone()
            )
        save_file(changed, next(folder.glob("*.safetensors")), metadata={"format": "pt"})
        outcome = outcome_of(lambda: mc.load(folder, device="cpu"), clear=(mc.BrokenFile,), path=folder, is_right=False)
        tally.add(f"{name} {kind}", outcome)
    print(tally.report())
    assert tally.faults == []


@sizes
def test_broken_weight_files(folder: Path, most: int | None) -> None:
    path = next(folder.glob("*.safetensors"))
    tally, data = Tally("weights of a checkpoint, broken"), path.read_bytes()
    cut = [case for case in byte_mutations(data, 20, seed=3) if "flipped" not in case[0]]  # a flipped weight is another weight
    for name, broken in sample(cut, most):
        path.write_bytes(broken)
        tally.add(name, outcome_of(lambda: mc.load(folder, device="cpu"), clear=(mc.BrokenFile,), path=folder, is_right=False))
    print(tally.report())
    assert tally.faults == []


@pytest.mark.parametrize(
    "names",
    [["pipeline"], ["Trainer"], ["AutoModel"], ["PretrainedConfig"], ["os"], ["__name__"], ["BlipProcessor"], ["AutoTokenizer"]],
)
def test_architectures_are_model_classes(folder: Path, names: list[str]) -> None:
    edit(folder, "config.json", architectures=names)
    with pytest.raises((ValueError, ImportError)) as caught:
        mc.load(folder, device="cpu")
    assert names[0] in str(caught.value)


@pytest.mark.parametrize("value", ["BlipForConditionalGeneration", [1], {"a": 1}, 7, [["x"]]])
def test_architectures_are_a_list_of_names(folder: Path, value: object) -> None:
    edit(folder, "config.json", architectures=value)
    with pytest.raises(mc.BrokenFile, match="architectures as a list of texts"):
        mc.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("vision_config", "architecture"), "hf-hub:timm/resnet18.a1_in1k"),
        (("vision_config", "backbone"), "hf_hub:timm/resnet18.a1_in1k"),
        (("encoder",), "hf-hub:timm/resnet18.a1_in1k"),
        (("vision_config", "architecture"), "local-dir:/tmp/x"),
        (("vision_config", "architecture"), "https://example.org/x"),
        (("use_pretrained_backbone",), True),
        (("vision_config", "num_hidden_layers"), 10**9),
        (("vision_config", "depth"), 10**6),
        (("vision_config", "hidden_size"), 10**12),
        (("text_config", "vocab_size"), 10**10),
        (("text_config", "max_position_embeddings"), 10**11),
        (("vision_config", "image_size"), 10**6),
    ],
)
def test_hubs_and_huge_sizes_in_a_config_are_refused(
    folder: Path, place: tuple[str, ...], value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(with_value(document, place, value)))
    with pytest.raises(mc.BrokenFile, match=r"config.json: expected .*" + place[-1]):
        mc.load(folder, device="cpu")


def test_a_huge_size_of_photos_is_refused(folder: Path) -> None:
    name = "preprocessor_config.json" if (folder / "preprocessor_config.json").is_file() else "processor_config.json"
    edit(folder, name, size={"height": 10**7, "width": 10**7})
    with pytest.raises(mc.BrokenFile, match="size.height of at most 16,384"):
        mc.load(folder, device="cpu")


@pytest.mark.parametrize("broken", ["{", "[]", "null", "\xff", '{"model_type": 3}', "[" * 100_000])
def test_broken_configs(folder: Path, broken: str) -> None:
    (folder / "config.json").write_bytes(broken.encode("latin-1"))
    outcome = outcome_of(lambda: mc.load(folder, device="cpu"), clear=CLEAR, path=folder, is_right=False)
    assert outcome == "clear"


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused(folder: Path, tmp_path: Path, zipped: bool) -> None:
    next(folder.glob("*.safetensors")).unlink()
    evil = {"weight": Evil(tmp_path / "ran")}
    if zipped:
        torch.save(evil, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(evil, protocol=2))
    with pytest.raises(mc.BrokenFile, match=r"pickles of tensors only|weights that can be read"):
        mc.load(folder, device="cpu", pickled=True)
    assert not (tmp_path / "ran").exists()


def test_safetensors_are_preferred_to_pickles_beside_them(folder: Path) -> None:
    expected = mc.load(folder, device="cpu").module.state_dict()
    tensors = {name: tensor * 0 + 1 for name, tensor in load_file(next(folder.glob("*.safetensors"))).items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    found = mc.load(folder, device="cpu", pickled=True).module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ range(10**12) }}",
        "{{ messages + 3 }}",
    ],
)
def test_a_chat_template_that_never_ends(checkpoints: Callable[[str], Path], tmp_path: Path, template: str) -> None:
    folder = shutil.copytree(checkpoints("llava"), tmp_path / "llava")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match="the chat template"):
        mc.explain(mc.load(folder, device="cpu"), noise_image())


@pytest.mark.parametrize(
    "name", ["timm:hf-hub:timm/resnet18", "timm:hf_hub:x/y", "timm:local-dir:/tmp", "timm:x/y", "timm:resnet18.hf-hub:x"]
)
def test_a_library_is_asked_for_its_own_names_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    with pytest.raises(ValueError, match="unknown model"):
        mc.load(name)


def test_the_base_model_of_an_adapter_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base", "peft_type": "LORA"}))
    with pytest.raises(FileNotFoundError, match="'owner/base', the base model that .*: run `hf download owner/base` first"):
        mc.load(tmp_path)


@pytest.mark.parametrize("name", ["timm:resnet18.a1_in1k", "torchvision:resnet18"])
def test_offline_is_said_in_our_words(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(OSError, match=f"the weights of {name} are not on this machine, and HF_HUB_OFFLINE forbids to fetch them"):
        mc.load(name)
