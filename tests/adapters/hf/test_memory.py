"""Large models: loaded in fewer bits, quantised, spread over devices; and what is said where they do not fit."""

from __future__ import annotations

import json
import shutil
import types
from importlib.util import find_spec

import pytest
import torch
from hf_models import CASES
from networks import noise_image
from typer.testing import CliRunner

import multimodal_cam as mc
from multimodal_cam.adapters.hf import memory
from multimodal_cam.cli.app import app

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2
GB = 10**9


def config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def case_of(name):
    return next(case for case in CASES if case.name == name)


def explained(model, case, **options):
    return mc.explain(model, noise_image(3), text=case.text, question=case.question, **options)


def alike(found, expected):
    return torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1].item()


# ---- fewer bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16, "float32"])
def test_a_model_is_loaded_in_the_numbers_that_are_asked_for(checkpoints, dtype):
    model = mc.load(checkpoints("blip-caption"), device="cpu", dtype=dtype)
    wanted = getattr(torch, str(dtype).removeprefix("torch."))
    assert {weight.dtype for weight in model.module.parameters()} == {wanted}
    assert model.preprocess([noise_image()]).pixels.dtype == wanted


def test_by_default_the_numbers_are_the_checkpoints(checkpoints, tmp_path):
    model = mc.load(checkpoints("blip-caption"), device="cpu")
    assert model.loaded.dtype == torch.float32
    model.module.bfloat16().save_pretrained(tmp_path)
    model.loaded.processor.save_pretrained(tmp_path)
    assert mc.load(tmp_path, device="cpu").loaded.dtype == torch.bfloat16


def test_numbers_are_for_checkpoints(checkpoints):
    with pytest.raises(ValueError, match="unknown dtype 'int8'; choose from float32, bfloat16, float16"):
        mc.load(checkpoints("blip-caption"), dtype="int8")
    with pytest.raises(ValueError, match="dtype: only Hugging Face models take one, 'nic' is none"):
        mc.load("nic", dtype="bfloat16")
    with pytest.raises(ValueError, match="device_map: only Hugging Face models"):
        mc.load("nic", device_map="auto")
    model = mc.load(checkpoints("blip-caption"), device="cpu")
    with pytest.raises(ValueError, match="dtype: this model is loaded already"):
        mc.load(model.module, processor=model.loaded.processor, dtype="bfloat16")


def test_numbers_on_the_command_line(checkpoints, tmp_path):
    photo = tmp_path / "photo.png"
    noise_image(2, (96, 48)).save(photo)
    asked = ["caption", photo, "--model", checkpoints("blip-caption"), "--text", "a dog", "--json", "--device", "cpu"]
    full, half = (
        json.loads(CliRunner().invoke(app, [*map(str, asked), "--dtype", dtype]).stdout) for dtype in ("float32", "bfloat16")
    )
    for one, other in zip(full["words"], half["words"], strict=True):
        assert one["probability"] != other["probability"]
        assert one["probability"] == pytest.approx(other["probability"], rel=0.2)


# ---- spread over devices ---------------------------------------------------------------------------------------------------


@pytest.fixture
def accelerate():
    return pytest.importorskip("accelerate")


FAMILIES = [  # cross-attention, a prompt, a CNN, tiles, side paths, the generic path
    pytest.param("blip-caption", marks=pytest.mark.slow),
    pytest.param("blip-vqa", marks=pytest.mark.slow),
    "llava",
    pytest.param("florence-2", marks=pytest.mark.slow),
    pytest.param("internvl", marks=pytest.mark.slow),
    pytest.param("qwen3-vl", marks=pytest.mark.slow),
    pytest.param("idefics2", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("way", ["device_map", "cpu", "disk"])
def test_weights_that_come_when_they_are_needed(accelerate, checkpoints, loaded, tmp_path, name, way):
    """Accelerate's hooks replace the `forward` of modules, and so does what runs the head alone: both hold."""
    case = case_of(name)
    whole = loaded(case)
    if way == "device_map":
        model = mc.load(checkpoints(name), device_map={"": "cpu"})
    else:
        own = type(whole.module).from_pretrained(checkpoints(name))
        if way == "cpu":
            accelerate.cpu_offload(own, execution_device=torch.device("cpu"))
        else:
            accelerate.disk_offload(own, tmp_path, execution_device=torch.device("cpu"))
        assert any(weight.device.type == "meta" for weight in own.parameters())
        model = mc.load(own, processor=whole.loaded.processor)
    assert model.loaded.device == torch.device("cpu")
    before = [module.__dict__.get("forward") for module in model.module.modules()]
    for options in ({"method": "evidence", "n_steps": 4}, {"method": "grad_cam"}):
        torch.testing.assert_close(explained(model, case, **options).maps, explained(whole, case, **options).maps)
    said, same = (mc.explain(one, noise_image(3), question=case.question, max_new_tokens=6) for one in (model, whole))
    assert said.tokens == same.tokens
    assert [module.__dict__.get("forward") for module in model.module.modules()] == before


def test_a_part_on_the_disk(accelerate, checkpoints, loaded, tmp_path):
    case = case_of("llava")
    whole = loaded(case)
    places = {"model": "cpu", "lm_head": "disk"}
    own = type(whole.module).from_pretrained(checkpoints("llava"), device_map=places, offload_folder=tmp_path)
    model = mc.load(own, processor=whole.loaded.processor)
    torch.testing.assert_close(explained(model, case).maps, explained(whole, case).maps)
    with pytest.raises(ValueError, match="spread over devices, or quantised, and cannot be moved to 'cpu'"):
        mc.load(own, processor=whole.loaded.processor, device="cpu")


def test_vilts_embeddings_stay(accelerate, checkpoints, loaded):
    whole = loaded(case_of("vilt"))
    own = type(whole.module).from_pretrained(checkpoints("vilt"))
    accelerate.cpu_offload(own, execution_device=torch.device("cpu"))
    with pytest.raises(ValueError, match="keep its embeddings in memory"):
        mc.load(own, processor=whole.loaded.processor)


def test_a_device_or_a_map_of_devices(checkpoints):
    with pytest.raises(ValueError, match="leave device out"):
        mc.load(checkpoints("blip-caption"), device="cpu", device_map="auto")


def test_weights_that_are_nowhere(checkpoints, loaded):
    whole = loaded(case_of("blip-caption"))
    with torch.device("meta"):
        empty = type(whole.module)(whole.module.config)
    with pytest.raises(ValueError, match="BlipVisionModel has no weights"):
        mc.explain(mc.load(empty, processor=whole.loaded.processor), noise_image(), text="a dog")


# ---- quantised -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def torchao(accelerate):
    return pytest.importorskip("torchao.quantization")


@pytest.mark.parametrize("name", ["blip-caption", "llava", "pix2struct"])  # Pix2Struct's first weight is packed, too
def test_weights_of_eight_bits(torchao, checkpoints, loaded, tmp_path, name):
    from transformers import TorchAoConfig

    case = case_of(name)
    whole = loaded(case)
    packing = TorchAoConfig(torchao.Int8WeightOnlyConfig())
    own = type(whole.module).from_pretrained(checkpoints(name), quantization_config=packing, device_map="cpu")
    own.save_pretrained(tmp_path)
    whole.loaded.processor.save_pretrained(tmp_path)
    model = mc.load(tmp_path, device="cpu")
    assert any(type(weight).__name__ == "Int8Tensor" for weight in model.module.parameters())
    for method in ("grad_cam", "evidence"):
        e = explained(model, case, method=method, n_steps=64)
        assert alike(e.token_maps, explained(whole, case, method=method, n_steps=64).token_maps) > 0.98
    assert (e.completeness.abs() <= torch.maximum(0.01 * e.reliance.abs(), torch.tensor(0.02))).all()
    with pytest.raises(ValueError, match="quantised, and cannot be moved"):
        mc.load(own, processor=whole.loaded.processor, device="cpu")


@pytest.mark.parametrize("bits", [8, 4])
def test_bitsandbytes(accelerate, checkpoints, loaded, bits):
    """Integers are no numbers to compute in: the photo stays in floating point, also where the first weight is packed."""
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    case = case_of("pix2struct")
    whole = loaded(case)
    packing = BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4)
    own = type(whole.module).from_pretrained(checkpoints(case.name), quantization_config=packing, device_map="cpu")
    model = mc.load(own, processor=whole.loaded.processor)
    assert model.preprocess([noise_image()]).pixels.dtype == torch.float32
    e = explained(model, case)
    assert e.maps.any()
    assert bits == 4 or alike(e.token_maps, explained(whole, case).token_maps) > 0.98


@pytest.mark.parametrize(
    ("packing", "library"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "optimum"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
    ],
)
def test_the_library_that_is_missing_is_named(folder, packing, library):
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    config(folder, quantization_config=packing)
    with pytest.raises(ImportError, match=f"pip install .*{library}" if find_spec("accelerate") else "accelerate"):
        mc.load(folder, device="cpu")


@pytest.mark.parametrize("method", ["grad_cam", "evidence"])
def test_weights_that_give_no_gradient(checkpoints, method):
    """As those of libraries that only compute forwards; nothing else asks for one."""
    case = case_of("llava")
    model = mc.load(checkpoints(case.name), device="cpu")
    model.module.requires_grad_(False)
    projector = model.module.model.multi_modal_projector
    projector.forward = torch.no_grad()(projector.forward)
    with pytest.raises(ValueError, match=r"switches gradients off behind layer 'model.vision_tower.*torch.no_grad"):
        explained(model, case, method=method)


# ---- too little memory -----------------------------------------------------------------------------------------------------


def test_too_little_memory_is_told_before_anything_is_loaded(folder, monkeypatch):
    from transformers import BlipForConditionalGeneration

    monkeypatch.setattr(memory, "available", lambda _: 100_000)
    monkeypatch.setattr(BlipForConditionalGeneration, "from_pretrained", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(MemoryError, match=r"needs about .* GB of memory \(weights .* GB\), and on cpu 0\.0 GB are free") as error:
        mc.load(folder, device="cpu")
    assert "dtype='bfloat16' makes that" in str(error.value)
    assert "device_map='auto'" in str(error.value)
    with pytest.raises(MemoryError) as error:
        mc.load(folder, device="cpu", dtype="bfloat16")
    assert "bfloat16" not in str(error.value)
    done = CliRunner().invoke(app, ["layers", str(folder), "--device", "cpu"])
    assert (done.exit_code, "needs about" in done.stderr) == (1, True)


def test_what_weights_take(checkpoints, folder):
    """Counted from the heads of the files: as they are loaded, quantised ones as they are stored."""
    settings = json.loads((folder / "config.json").read_text())
    model = mc.load(checkpoints("blip-caption"), device="cpu").module
    stored = sum(weight.numel() for weight in dict(model.named_parameters()).values())
    assert memory.weights_size(folder, settings) == pytest.approx(4 * stored, rel=0.02)
    assert memory.weights_size(folder, settings, torch.bfloat16) == pytest.approx(2 * stored, rel=0.02)
    assert memory.weights_size(folder, settings | {"dtype": "float16"}) == pytest.approx(2 * stored, rel=0.02)
    packed = settings | {"quantization_config": {}}
    assert memory.weights_size(folder, packed, torch.bfloat16) == pytest.approx(4 * stored, rel=0.02)


def test_shards_are_counted_once_and_all(checkpoints, folder):
    model = mc.load(checkpoints("blip-caption"), device="cpu").module
    whole = memory.weights_size(folder, {})
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert memory.weights_size(folder, {}) == whole
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert memory.weights_size(folder, {}) == pytest.approx(whole, rel=0.02)
    shards[1].unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks weights that its index names, {shards[1].name}"):
        mc.load(folder, device="cpu")


def test_weights_that_did_not_come_whole(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="half a download"):
        mc.load(folder, device="cpu")
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match="a pointer of Git LFS"):
        mc.load(folder, device="cpu")


def test_what_memory_there_is(tmp_path, monkeypatch):
    assert memory.available(torch.device("cpu")) is None or memory.available(torch.device("cpu")) > 0
    assert memory.available(torch.device("meta")) is None
    machine = tmp_path / "meminfo"
    assert memory._machine_memory(machine) is None
    machine.write_text("MemTotal:       64000000 kB\nMemAvailable:    8000000 kB\n")
    assert memory._machine_memory(machine) == 8_192_000_000
    limit, used, spare = memory.CGROUPS[0]
    assert memory._container_memory(limit, used, spare, tmp_path) is None
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1000\ninactive_file 2000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._container_memory(limit, used, spare, tmp_path) is None
    (tmp_path / "memory.max").write_text("10000\n")
    assert memory._container_memory(limit, used, spare, tmp_path) == 9000
    for name, value in (("memory_reserved", 5 * GB), ("memory_allocated", 2 * GB), ("mem_get_info", (4 * GB, 80 * GB))):
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert memory.available(types.SimpleNamespace(type="cuda")) == 7 * GB
