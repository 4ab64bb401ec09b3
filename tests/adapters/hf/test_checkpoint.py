"""Loading Hugging Face checkpoints: what people bring, and what is said where it cannot work; the command line on them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch
from hf_models.tokenizers import byte_level, sentence_piece, word_piece
from networks import noise_image
from typer.testing import CliRunner

import multimodal_cam as mc
from multimodal_cam.adapters.catalog import layer_rows
from multimodal_cam.adapters.hf import detokenization
from multimodal_cam.adapters.hf.family_registry import FAMILIES, OLDEST
from multimodal_cam.adapters.hf.generic_family import GENERIC
from multimodal_cam.adapters.hf.token_views import TokenView
from multimodal_cam.cli.app import app
from multimodal_cam.core.spans import sentence


def config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ---- errors ----------------------------------------------------------------------------------------------------------------


def test_a_hub_name_where_the_hub_is_forbidden(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"HF_HUB_OFFLINE.*hf download owner/no-such-model --local-dir"):
        mc.load("owner/no-such-model")


def test_a_hub_name_without_a_network_does_not_hang(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(OSError, match=r"cannot be reached.*hf download"):
        mc.load("owner/no-such-model")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["processor_config.json", "preprocessor_config.json"], "no image processor"),
        (["tokenizer.json", "tokenizer_config.json"], "no tokenizer"),
        (["model.safetensors"], "no weights"),
    ],
)
def test_what_is_missing_in_a_folder_is_named(folder, names, said):
    for name in names:
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match=said):
        mc.load(folder)


def test_pickles_are_read_on_request_only(folder):
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled=True"):
        mc.load(folder)
    assert mc.load(folder, pickled=True, device="cpu").name == "blip"


def test_a_text_model_sees_no_photos(tmp_path):
    from transformers import GPT2Config

    GPT2Config(architectures=["GPT2LMHeadModel"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="GPT2LMHeadModel, which sees no photos"):
        mc.load(tmp_path)


def test_an_unknown_architecture_names_the_nearest(folder):
    config(folder, architectures=["BlipForConditionalGenerations"])
    with pytest.raises(ValueError, match=r"no adapter; near: BlipForConditionalGeneration\b.*module:function"):
        mc.load(folder)


def test_an_encoder_says_no_words(tmp_path):
    from transformers import ViTConfig

    ViTConfig(architectures=["ViTForMaskedImageModeling"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"ViTForMaskedImageModeling, for which there is no adapter;.*docs/how-to/family\.md"):
        mc.load(tmp_path)


def test_a_version_of_transformers_that_is_too_old_for_all(folder, monkeypatch):
    pyproject = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert f"transformers>={OLDEST}" in pyproject["project"]["optional-dependencies"]["hf"]
    monkeypatch.setattr("transformers.__version__", "4.57.3")
    with pytest.raises(ImportError, match=rf"need transformers {OLDEST} or newer, 4\.57\.3 is installed: pip install --upgrade"):
        mc.load(folder)


NEWER = r"was written by transformers 99\.1\.0; .*, which is installed, cannot read it .*: pip install --upgrade transformers"


def test_an_architecture_of_a_newer_version(folder):
    config(folder, architectures=["Blip9ForConditionalGeneration"], transformers_version="99.1.0")
    with pytest.raises(ImportError, match=NEWER):
        mc.load(folder)


def test_files_of_a_newer_version_that_cannot_be_read(folder):
    mc.load(folder, device="cpu")
    config(folder, transformers_version="99.1.0")
    mc.load(folder, device="cpu")  # a newer version alone is no reason
    config(folder, transformers_version="99.1.0", vision_config={"hidden_size": 7})
    with pytest.raises(ImportError, match=NEWER):
        mc.load(folder)
    config(folder, transformers_version="5.0.0")
    with pytest.raises(Exception, match="7"):  # the library's own error
        mc.load(folder)


def test_a_family_that_the_installed_version_lacks(folder, monkeypatch):
    monkeypatch.setattr("multimodal_cam.adapters.hf.checkpoint._model_class", lambda *_: None)
    with pytest.raises(ImportError, match="has no BlipForConditionalGeneration: pip install --upgrade transformers"):
        mc.load(folder)


def test_code_beside_a_checkpoint_does_not_run(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n")
    config(folder, auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoProcessor": "evil.Evil"})
    mc.load(folder, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_a_llava_that_reads_several_layers_is_refused(checkpoints):
    model = mc.load(checkpoints("llava"), device="cpu")
    model.module.config.vision_feature_layer = [-2, -1]
    with pytest.raises(ValueError, match=r"reads 2 layers at once"):
        mc.load(model.module, processor=model.loaded.processor)


def test_captioners_take_no_question_and_readers_want_one(checkpoints):
    captioner, reader = (mc.load(checkpoints(name), device="cpu") for name in ("blip-caption", "blip-vqa"))
    with pytest.raises(ValueError, match="takes no question"):
        mc.explain(captioner, noise_image(), question="what is this?")
    with pytest.raises(ValueError, match="pass question="):
        mc.explain(reader, noise_image())


# ---- loaded already --------------------------------------------------------------------------------------------------------


def test_a_loaded_model_with_its_processor(checkpoints):
    from transformers import AutoProcessor, BlipForConditionalGeneration

    model = BlipForConditionalGeneration.from_pretrained(checkpoints("blip-caption")).train()
    processor = AutoProcessor.from_pretrained(checkpoints("blip-caption"))
    adapter = mc.load(model, processor=processor)
    assert model.training
    found = mc.explain(adapter, noise_image(), text="a brown dog")
    same = mc.explain(mc.load(checkpoints("blip-caption"), device="cpu"), noise_image(), text="a brown dog")
    torch.testing.assert_close(found.maps, same.maps)
    with pytest.raises(TypeError, match="needs its processor"):
        mc.load(model)
    with pytest.raises(TypeError, match="has no image_processor"):
        mc.load(model, processor=processor.tokenizer)
    with pytest.raises(ValueError, match="brings its own"):
        mc.load(checkpoints("blip-caption"), processor=processor)


def test_a_model_of_no_known_family():
    from transformers import ViTConfig, ViTModel

    vit = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="ViTModel"):
        mc.load(vit, processor=object())


# ---- words -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog, running.", ["a", "dog", ",", "running", "."]),
        ("don't T-shirt 3.5 1,000 dogs' it’s", ["don't", "T-shirt", "3.5", "1,000", "dogs", "'", "it’s"]),
        ("一只狗 runs", ["一", "只", "狗", "runs"]),
        ("a 👍🏽 and 👨‍👩‍👧!", ["a", "👍🏽", "and", "👨‍👩‍👧", "!"]),
        ("कुत्ता दौड़ता", ["कुत्ता", "दौड़ता"]),
    ],
)
def test_words_as_a_person_reads_them(text, expected):
    assert [text[a:b] for a, b in detokenization.split_words(text)] == expected


@pytest.mark.parametrize("make", [byte_level, sentence_piece, word_piece])
@pytest.mark.parametrize("text", ["a brown dog, a dog!", "two dogs don't play", "a 🐶 runs", "狗 on grass"])
def test_words_of_tokens_whatever_the_tokenizer(make, text):
    tokenizer = make()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    if tokenizer.unk_token_id in ids:
        pytest.skip("this tokenizer cannot say it")

    def decode(run):
        return tokenizer.decode(run, clean_up_tokenization_spaces=False)

    marked = [tokenizer.pad_token_id, *ids, tokenizer.pad_token_id]
    found = detokenization.word_spans(*detokenization.token_ranges(marked, decode, {tokenizer.pad_token_id}))
    assert [span.text for span in found] == [text[a:b] for a, b in detokenization.split_words(text)] or make is word_piece
    assert sentence(found) == text or make is word_piece
    assert "".join(span.text for span in found) == text.replace(" ", "")
    covered = [i for span in found for i in range(span.start, span.stop)]
    assert covered == list(range(1, len(ids) + 1))


def test_a_word_that_the_tokenizer_cannot_say(checkpoints):
    model = mc.load(checkpoints("blip-caption"), device="cpu")
    with pytest.raises(mc.UnknownWordError, match="'☃'"):
        mc.explain(model, noise_image(), text="a ☃ runs")
    found = mc.explain(model, noise_image(), text="a ☃ runs", unknown="unk")
    assert [word.known for word in found.words] == [True, False, True]
    assert found["☃"].map.isnan().all()


def test_why_this_word_and_not_that_one(checkpoints):
    model = mc.load(checkpoints("ved-vit"), device="cpu")
    text = "a brown dog runs on the grass."
    found = mc.explain(model, noise_image(), text=text, instead_of={"dog": "child"})
    ids, other = (model.tokenize([t])[0] for t in (text, text.replace("dog", "child")))
    span = found.find("dog")
    first = next(i for i in range(span.start, span.stop) if ids[i] != other[i])
    with torch.no_grad():
        logits = model.logits(model.preprocess([noise_image()]), ids[None])[0, first]
    assert found["dog"].score == pytest.approx((logits[ids[first]] - logits[other[first]]).item(), abs=1e-4)


# ---- grids -----------------------------------------------------------------------------------------------------------------


def test_tokens_are_grids_of_the_photos_proportions():
    tokens = torch.randn(2, 1 + 6 * 4, 5)
    view = TokenView(prefix=1, ratio=1.5)
    assert view.cells(view.extract((tokens, None))).shape == (2, 5, 6, 4)
    assert view.cells(tokens)[1, 3, 2, 1] == tokens[1, 1 + 2 * 4 + 1, 3]
    assert torch.equal(view.unplaced(tokens), tokens[:, :1])
    grid = torch.randn(2, 5, 6, 4)
    assert torch.equal(view.inject(view.extract(grid), grid), grid)
    assert view.unplaced(view.extract(grid)) is None
    with pytest.raises(ValueError, match="no grid of the photo's proportions"):
        view.extract(torch.randn(1, 23, 5))
    with pytest.raises(ValueError, match="expected tokens"):
        view.extract(torch.randn(3, 5))


# ---- the command line ------------------------------------------------------------------------------------------------------


def run(*arguments: str | Path):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_every_family_is_listed_and_says_its_layer():
    rows = [json.loads(line) for line in run("models", "--json").stdout.splitlines()]
    families = [row for row in rows if "family" in row]
    assert [row["family"] for row in families] == [family.name for family in (*FAMILIES, GENERIC)]
    assert all("GB" in row["memory"] and row["transformers"] for row in families)
    assert all(callable(family.vision_tower_and_layer) for family in (*FAMILIES, GENERIC))
    import transformers

    assert all(hasattr(transformers, name) for family in FAMILIES for name in family.architectures)


def test_layers_are_listed_with_what_the_head_uses(checkpoints):
    done = run("layers", checkpoints("llava"), "--json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    rows = {row["layer"]: row for row in map(json.loads, done.stdout.splitlines())}
    used, unused = (f"model.vision_tower.encoder.layers.{i}" for i in (0, 1))
    assert (rows[used]["used"], rows[used]["default"], rows[used]["grid"]) == (True, True, [4, 4])
    assert rows[unused]["used"] is False
    assert rows["model.vision_tower.embeddings.patch_embedding"]["used"] is True
    with pytest.raises(ValueError, match="does not depend on layer"):
        mc.explain(mc.load(checkpoints("llava"), device="cpu"), noise_image(), text="a dog", layer=unused)
    frozen = mc.load(checkpoints("llava"), device="cpu")
    frozen.module.requires_grad_(False)
    with pytest.raises(ValueError, match="does not depend on layer"):
        mc.explain(frozen, noise_image(), text="a dog", layer=unused)


def test_layers_of_all_kinds_of_models():
    from networks import small_captioner, small_vqa

    for model in (small_captioner(), small_vqa()):
        rows = layer_rows(model)
        assert [row["layer"] for row in rows if row["default"]] == ["encoder"]
        assert {row["used"] for row in rows} == {True}


def test_another_layer_of_the_tower(checkpoints):
    model = mc.load(checkpoints("blip-caption"), device="cpu")
    found = mc.explain(model, noise_image(), text="a dog", layer="vision_model.encoder.layers.0", method="evidence", n_steps=64)
    assert found.maps.shape[1:] == (4, 4)
    assert found.completeness.abs().max() < 0.05


def test_captions_and_answers_on_the_command_line(checkpoints, tmp_path):
    photo = tmp_path / "photo.png"
    noise_image(2, (96, 48)).save(photo)
    done = run("caption", photo, "--model", checkpoints("ved-swin"), "--text", "a brown dog runs.", "--out", tmp_path / "page")
    assert done.exit_code == 0, done.output
    assert "a brown dog runs." in done.stdout
    assert (tmp_path / "page" / "index.html").is_file()
    done = run("vqa", photo, "what colour is the dog?", "--model", checkpoints("blip-vqa"), "--answer", "brown dog", "--json")
    assert done.exit_code == 0, done.output
    assert [word["text"] for word in json.loads(done.stdout.splitlines()[-1])["words"]] == ["brown", "dog"]
    done = run("vqa", photo, "what colour is the dog?", "--model", checkpoints("blip-vqa"), "--out", tmp_path / "answers")
    assert done.exit_code == 0, done.output
    done = run("caption", photo, "--model", tmp_path / "nothing", "--out", tmp_path / "none")
    assert done.exit_code == 2
