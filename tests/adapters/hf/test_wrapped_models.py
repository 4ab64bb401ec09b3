"""Hugging Face models in wrappers, adapters beside their base model, and weights under a wrapper's names."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
from hf_models import CASES
from networks import noise_image
from safetensors.torch import load_file, save_file
from torch import nn

import multimodal_cam as mc

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # between peft and transformers
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
PHOTO = noise_image(0, (96, 48))
QUICK = ("llava", "ved-vit")
FAMILIES = [
    pytest.param(case, id=case.name, marks=[] if case.name in QUICK else [pytest.mark.slow]) for case in CASES if not case.slow
]


@pytest.fixture(autouse=True)
def _new_compiler():
    yield
    torch.compiler.reset()


def lora(model, targets="all-linear"):
    """An adapter with weights that count."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=targets, r=2))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    return adapted


def compiled_in_place(model):
    for part in (model, *model.modules()):
        if part is model or type(part).__name__.endswith(("Layer", "Block")):
            part.compile(backend="eager")
    return model


def offloaded(model):
    return pytest.importorskip("accelerate").cpu_offload(model, execution_device=torch.device("cpu"))


def lightning(model):
    pl = pytest.importorskip("pytorch_lightning")

    class Training(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, **batch):
            return self.model(**batch).loss

    return Training()


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "compiled in place": compiled_in_place,
    "offloaded": offloaded,
    "lightning": lightning,
}


def explained(model, case):
    asked = {"question": case.question} if case.question else {}
    asked |= {} if case.chooses else {"text": "a brown dog"}
    return mc.explain(model, PHOTO, method="evidence", n_steps=2, **asked)


def assert_same(found, expected, tolerance=1e-6):
    torch.testing.assert_close(found.token_maps, expected.token_maps, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.token_reliance, expected.token_reliance, rtol=0, atol=tolerance)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("case", FAMILIES)
def test_the_map_is_the_bare_models(case, wrapper, loaded):
    if wrapper == "offloaded" and case.name in ("fastvlm", "gemma3n", "idefics3", "vilt"):
        pytest.skip("the model itself does not run offloaded")
    bare = loaded(case)
    wrapped = mc.load(WRAPPERS[wrapper](copy.deepcopy(bare.module)), processor=bare.loaded.processor)
    assert_same(explained(wrapped, case), explained(bare, case))


@pytest.mark.parametrize("case", FAMILIES)
def test_the_map_of_lora_is_that_of_the_merged_model(case, loaded):
    bare = loaded(case)
    # merging into BLIP's output layer would change the embeddings that are tied to it; into others it does not
    targets = ".*(query|key|value|qkv|projection|dense|fc1|fc2)" if case.name in ("blip-caption", "blip-vqa") else "all-linear"
    processor, adapted = bare.loaded.processor, lora(copy.deepcopy(bare.module), targets)
    found = explained(mc.load(adapted, processor=processor), case)
    assert not torch.allclose(found.token_reliance, explained(bare, case).token_reliance, atol=1e-4)
    merged = explained(mc.load(copy.deepcopy(adapted).merge_and_unload(), processor=processor), case)
    scale = merged.token_maps.abs().max().item()
    assert_same(found, merged, tolerance=1e-3 * max(scale, 1))


IN_PLACE = [
    pytest.param(case, marks=[] if case.name == "blip-caption" else [pytest.mark.slow]) for case in CASES if not case.slow
]


@pytest.mark.parametrize("case", IN_PLACE)
def test_lora_put_into_a_model_that_is_loaded_already(case, checkpoints):
    model = mc.load(checkpoints(case.name), device="cpu")
    explained(model, case)
    adapted = lora(model.module)
    assert_same(explained(model, case), explained(mc.load(adapted, processor=model.loaded.processor), case))


@pytest.mark.parametrize("case", FAMILIES)
def test_a_folder_with_an_adapter(case, loaded, checkpoints, tmp_path):
    """Its `adapter_config.json` names the base model, by a path of its own or beside it."""
    bare = loaded(case)
    adapted = lora(copy.deepcopy(bare.module))
    adapted.save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(file.read_text())
    for named in (str(checkpoints(case.name)), "base"):
        file.write_text(json.dumps(config | {"base_model_name_or_path": named}))
        if named == "base":
            shutil.copytree(checkpoints(case.name), tmp_path / "base")
        model = mc.load(tmp_path / "adapter", device="cpu")
        assert_same(explained(model, case), explained(mc.load(adapted, processor=bare.loaded.processor), case))
        assert model.provenance["peft_adapter"] == "adapter"


def adapter_folder(checkpoints, tmp_path, **changes):
    pytest.importorskip("peft")
    model = mc.load(checkpoints("ved-vit"), device="cpu").module
    lora(model).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    named = {"base_model_name_or_path": str(checkpoints("ved-vit"))} | changes
    file.write_text(json.dumps(json.loads(file.read_text()) | named))
    return tmp_path / "adapter"


def test_the_tokenizer_beside_an_adapter(checkpoints, tmp_path):
    """It has new words, and the embeddings grow with it."""
    folder = adapter_folder(checkpoints, tmp_path)
    bare = mc.load(checkpoints("llava"), device="cpu")
    tokenizer = copy.deepcopy(bare.loaded.tokenizer)
    tokenizer.add_tokens(["zorb"])
    bare.module.resize_token_embeddings(len(tokenizer))
    folder = tmp_path / "grown"
    lora(bare.module, targets=["q_proj"]).save_pretrained(folder, save_embedding_layers=True)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(checkpoints("llava"))}))
    model = mc.load(folder, device="cpu")
    assert model.tokens(model.tokenize(["zorb"])[0].tolist()) == ["zorb"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": "/nowhere/base"}, "an adapter of '/nowhere/base', which is not there"),
        ({"target_modules": ["no_such_layer"]}, "does not fit its base model, VisionEncoderDecoderModel"),
        ({"r": 4}, "does not fit its base model, VisionEncoderDecoderModel"),
        ({"modules_to_save": ["lm_head"]}, "does not fit its base model, VisionEncoderDecoderModel"),
    ],
)
def test_adapters_that_cannot_be_loaded(changes, message, checkpoints, tmp_path):
    with pytest.raises((ValueError, OSError), match=message):
        mc.load(adapter_folder(checkpoints, tmp_path, **changes), device="cpu")


def test_files_of_an_adapter(checkpoints, tmp_path):
    folder = adapter_folder(checkpoints, tmp_path)
    weights = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no weights of its adapter"):
        mc.load(folder, device="cpu")
    torch.save(weights, folder / "adapter_model.bin")
    with pytest.raises(ValueError, match="as a pickle"):
        mc.load(folder, device="cpu")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
@pytest.mark.parametrize("name", ["ved-vit", "llava"])
def test_weights_under_a_wrappers_names(name, prefix, loaded, checkpoints, tmp_path):
    case = next(case for case in CASES if case.name == name)
    folder = shutil.copytree(checkpoints(name), tmp_path / "checkpoint")
    file = next(folder.glob("*.safetensors"))
    save_file({prefix + key: value for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    assert_same(explained(mc.load(folder, device="cpu"), case), explained(loaded(case), case))


def test_weights_of_another_model(checkpoints, tmp_path):
    """transformers draws them at random."""
    folder = shutil.copytree(checkpoints("llava"), tmp_path / "checkpoint")
    file = next(folder.glob("*.safetensors"))
    save_file({f"other.{key}": value for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks .* of the .* weights of LlavaForConditionalGeneration"):
        mc.load(folder, device="cpu")


def test_image_classifiers(tmp_path):
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)).eval()
    processor = ViTImageProcessor(size={"height": 64, "width": 64})
    expected = mc.explain(mc.load(model, processor=processor), PHOTO)
    for wrap in (nn.DataParallel, lambda model: torch.compile(model, backend="eager"), lightning, offloaded):
        found = mc.explain(mc.load(wrap(copy.deepcopy(model)), processor=processor), PHOTO)
        assert_same(found, expected)
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    adapted = lora(copy.deepcopy(model), targets=["convolution"])
    adapted.save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "base"}))
    found = mc.explain(mc.load(tmp_path / "adapter", device="cpu"), PHOTO)
    assert_same(found, mc.explain(mc.load(adapted, processor=processor), PHOTO))
    assert not torch.allclose(found.token_maps, expected.token_maps, atol=1e-5)
