"""The generic path: what is found of an architecture without an adapter, how it runs then, and what is said where it cannot."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import re
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hf_models import CASES, generic
from networks import noise_image
from torch import Tensor, nn
from typer.testing import CliRunner

import multimodal_cam as mc
from multimodal_cam.adapters.catalog import layer_rows
from multimodal_cam.adapters.hf.checkpoint import adapt
from multimodal_cam.adapters.hf.composed_adapter import HuggingFace
from multimodal_cam.adapters.hf.decoding import no_layer
from multimodal_cam.adapters.hf.family_spec import Capabilities, FamilySpec
from multimodal_cam.adapters.hf.generic_checks import logits_agree
from multimodal_cam.adapters.hf.generic_family import GENERIC
from multimodal_cam.adapters.hf.probe import (
    GridLayout,
    find_grid_start,
    find_layer,
    find_tower,
    last_part,
    record_calls,
    weights_without_gradients,
)
from multimodal_cam.adapters.hf.prompts import JointPrompt
from multimodal_cam.adapters.inputs import Inputs
from multimodal_cam.cli.app import app

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2
TEXT = "a brown dog runs."
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders by the name of their builder, each written once."""
    home = tmp_path_factory.mktemp("generic")

    def checkpoint(name: str) -> Path:
        if not (home / name).is_dir():
            torch.manual_seed(0)
            getattr(generic, name)(home / name)
        return home / name

    return checkpoint


@pytest.fixture(scope="module")
def loaded(checkpoints):
    """Models by the name of their builder; leave them as they are."""
    models = {}

    def load(name: str) -> HuggingFace:
        if name not in models:
            models[name] = mc.load(checkpoints(name), device="cpu")
        return models[name]

    return load


# ---- what is found ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tower", "layer", "runs"),
    [
        ("idefics2", "model.vision_model", "model.vision_model.encoder.layers.1", (True, True, True)),
        ("mistral3", "model.vision_tower", "model.vision_tower.transformer.layers.1", (True, False, True)),
        ("vipllava", "model.vision_tower", "model.vision_tower.encoder.layers.0", (False, True, True)),
    ],
)
def test_tower_and_layer_are_found_and_told(checkpoints, caplog, name, tower, layer, runs):
    with caplog.at_level(logging.WARNING, "multimodal_cam"):
        model = mc.load(checkpoints(name), device="cpu")
    (said,) = (record.getMessage() for record in caplog.records if record.name == "multimodal_cam")  # other libraries warn, too
    assert f"its vision tower was found at {tower!r}, it is explained at layer {layer!r}" in said
    assert "docs/how-to/family.md" in said
    can = model.spec.capabilities
    assert (can.head_runs_alone, can.head_rows_in_one_batch, can.rows_in_one_batch) == runs
    e = mc.explain(model, noise_image(0, (96, 48)), text=TEXT)
    assert e.layer == layer
    assert e.provenance["tower"] == tower
    assert e.provenance["runs"].startswith("the head runs alone" if runs[0] else "the whole network runs")
    assert e.provenance["runs"].endswith("row by row") == (not runs[1])
    assert [row["layer"] for row in layer_rows(model) if row["default"]] == [layer]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fastvlm", "gemma3n", "gemma3", "internvl-uncut", "kosmos-2-grounding", "llama4", "llava"])
def test_it_finds_what_others_wrote_down(tmp_path, name):
    """On models that have an adapter: the same maps, the same share without a place (Llama 4's CLS is the last token)."""
    case = next(case for case in CASES if case.name == name)
    torch.manual_seed(0)
    case.build(tmp_path)
    known = mc.load(tmp_path, device="cpu")
    if name == "llama4":
        known.loaded.image_processor.max_patches = 1  # no tiles
    found = adapt(known.module, known.loaded.processor, name, family=GENERIC)
    image, asked = noise_image(0, (96, 48)), {"question": case.question or known.spec.prompt.request, "text": TEXT}
    for method in ("grad_cam", "evidence"):
        own, same = (mc.explain(model, image, **asked, method=method, n_steps=4) for model in (known, found))
        torch.testing.assert_close(same.maps, own.maps, rtol=1e-3, atol=1e-4 * own.maps.abs().max().item())
    torch.testing.assert_close(same.unplaced, own.unplaced, rtol=1e-3, atol=1e-5)


def test_an_adapter_is_needed_where_a_model_speaks_otherwise(tmp_path):
    """PaliGemma says of each token whether it is the text's, which is not what `generate` goes on with."""
    torch.manual_seed(0)
    next(case for case in CASES if case.name == "paligemma").build(tmp_path)
    known = mc.load(tmp_path, device="cpu")
    with pytest.raises(
        ValueError, match=REFUSED.format("PaliGemmaForConditionalGeneration", r"generate\(\) chose its 3 tokens by")
    ):
        adapt(known.module, known.loaded.processor, "paligemma", family=GENERIC)


def test_questions_about_one_photo_share_the_tower(loaded):
    model, image = loaded("idefics2"), noise_image()
    asked = ["what is it?", "what colour is the dog?"]
    together = mc.explain(model, image, question=asked, text="a dog")
    for question, one in zip(asked, together, strict=True):
        alone = mc.explain(model, image, question=question, text="a dog")
        torch.testing.assert_close(one.maps, alone.maps, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(together[0].maps, together[1].maps, rtol=1e-2)


def test_row_by_row_is_the_same(loaded):
    """Whatever way a model is run, the maps are the same."""
    model, image = loaded("idefics2"), noise_image(2, (96, 48))
    expected = mc.explain(model, [image, image], text=[TEXT, "two dogs"], method="evidence", n_steps=4)
    for alone, head_together, together in ((True, False, False), (False, True, True), (False, False, False)):
        can = Capabilities(
            head_runs_alone=alone,
            head_rows_in_one_batch=head_together,
            rows_in_one_batch=together,
            generates_from_layer=False,
            tower_shared_by_questions=False,
            grid_follows_image=True,
        )
        other = HuggingFace(
            model.module, model.loaded.processor, model.name, replace(model.spec, capabilities=can, readout=no_layer)
        )
        found = mc.explain(other, [image, image], text=[TEXT, "two dogs"], method="evidence", n_steps=4)
        for one, same in zip(found, expected, strict=True):
            torch.testing.assert_close(one.maps, same.maps, rtol=1e-3, atol=1e-6)
    assert other.generate(other.preprocess([image, image])).shape[0] == 2
    first = "model.vision_model.encoder.layers.0"
    assert mc.explain(other, image, text=TEXT, layer=first).maps.shape[1:] == (4, 8)
    with pytest.raises(ValueError, match="row by row: look at its own layer"):
        mc.explain(other, image, text=TEXT, layer=first, method="evidence")


def test_what_goes_around_the_layer_stays_the_photos(checkpoints):
    """A side path, as DeepStack's: the head is not run alone, and the slopes at the layer are still right."""
    from transformers import AutoProcessor, Idefics2ForConditionalGeneration

    class Around(Idefics2ForConditionalGeneration):
        """Its image tokens also get the mean of the patches as they come in."""

        def around(self):
            seen = []
            self.model.vision_model.embeddings.register_forward_hook(lambda _m, _a, out: seen.append(out))
            self.model.connector.register_forward_hook(lambda _m, _a, out: out + seen.pop().mean())

    folder = checkpoints("idefics2")
    model = Around.from_pretrained(folder)
    assert mc.load(model, processor=AutoProcessor.from_pretrained(folder)).spec.capabilities.head_runs_alone
    model.around()
    adapter = mc.load(model, processor=AutoProcessor.from_pretrained(folder))
    assert not adapter.spec.capabilities.head_runs_alone
    image = noise_image(2, (96, 48))
    inputs, ids = adapter.preprocess([image]), adapter.tokenize([TEXT])
    e = mc.explain(adapter, image, text=TEXT, method="hires_cam")
    activations = adapter.layer_activations(inputs)
    moved = activations.clone()
    moved[0, 5] *= 1 + 1e-3  # cell 5, all its channels: HiResCAM's number is the slope along them
    with torch.no_grad():
        scores = [mc.SCORES["log_prob"].resolve(None, None)(adapter.logits(inputs, ids, a), ids)[0] for a in (moved, activations)]
    torch.testing.assert_close((scores[0] - scores[1]) / 1e-3, e.token_maps.flatten(1)[:, 5], rtol=0.05, atol=0.02)


def test_what_is_said_of_each_token_of_the_prompt_goes_on(loaded):
    model = loaded("idefics2")
    prompt, pixels = torch.tensor([[5, 6, 7]]), torch.zeros(1, 3, 4, 4)
    more = {
        "token_type_ids": torch.tensor([[0, 1, 0]]),
        "position_ids": torch.tensor([[0, 1, 2]]),
        "sizes": torch.tensor([[4, 4]]),
    }
    given = model.loaded.forward_kwargs(Inputs(pixels, (), prompt, extra_inputs=more), torch.tensor([[5, 6, 7, 8, 9]]))
    assert given["token_type_ids"].tolist() == [[0, 1, 0, 0, 0]]
    assert given["position_ids"].tolist() == [[0, 1, 2, 3, 4]]
    assert given["attention_mask"].tolist() == [[1] * 5]
    assert given["sizes"].tolist() == [[4, 4]]


# ---- code beside the weights -----------------------------------------------------------------------------------------------

CODE = """
from transformers import Idefics2Config, Idefics2ForConditionalGeneration


class StrangerConfig(Idefics2Config):
    model_type = "stranger"


class Stranger(Idefics2ForConditionalGeneration):
    config_class = StrangerConfig
"""


def test_an_architecture_outside_transformers_runs_if_it_is_trusted(checkpoints, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = Path(shutil.copytree(checkpoints("idefics2"), tmp_path / "stranger"))
    (folder / "stranger.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    autos = {"AutoConfig": "stranger.StrangerConfig", "AutoModelForImageTextToText": "stranger.Stranger"}
    config |= {"architectures": ["Stranger"], "model_type": "stranger", "auto_map": autos}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"Stranger, whose code lies beside its weights: load\(\.\.\., trust_remote_code=True\)"):
        mc.load(folder)
    model = mc.load(folder, device="cpu", trust_remote_code=True)
    assert model.provenance["architecture"] == "Stranger"
    found, same = (mc.explain(m, noise_image(), text=TEXT) for m in (model, loaded("idefics2")))
    torch.testing.assert_close(found.maps, same.maps)


# ---- docs/how-to/family.md --------------------------------------------------------------------------------------------------


def test_the_page_runs_as_it_stands(checkpoints, loaded, tmp_path, monkeypatch, capsys):
    """Its example is loaded by name, passes its own check, and gives the maps of the generic path; the command line takes it."""
    page = (ROOT / "docs" / "how-to" / "family.md").read_text()
    family, *rest = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    changed = re.sub(r'CHECKPOINT = ".*"', f"CHECKPOINT = {str(checkpoints('idefics2'))!r}", family)
    (tmp_path / "my_family.py").write_text(changed)
    noise_image(0, (8, 6)).resize((96, 48)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict = {}
    for block in rest:
        exec(compile(block, "family.md", "exec"), names)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("ok", "FAILED"))]
    shown = re.search(r"```\n(ok .*?)```", page, re.DOTALL)[1].splitlines()
    assert [line.partition(":")[0] for line in said] == [line.partition(":")[0] for line in shown], said
    same = mc.explain(loaded("idefics2"), "photo.jpg", text=names["e"].text)
    torch.testing.assert_close(names["e"].maps, same.maps, rtol=1e-3, atol=1e-6)
    done = CliRunner().invoke(
        app, ["caption", "photo.jpg", "--model", "my_family:load", "--text", "a dog", "--json", "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["text"] == "a dog"
    sys.modules.pop("my_family")


def test_the_page_lists_functions_that_a_spec_has():
    page = (ROOT / "docs" / "how-to" / "family.md").read_text()
    listed = re.findall(r"^\| `(\w+)(?:\((.*?)\))?` \|", page, re.MULTILINE)
    defaults = {field.name: field.default for field in fields(FamilySpec)}
    assert {"vision_tower_and_layer", "logits", "for_checkpoint"} <= {name for name, _ in listed} <= set(defaults)
    for name, parameters in listed:
        if parameters and callable(defaults[name]):
            own = [parameter.name.lstrip("_") for parameter in inspect.signature(defaults[name]).parameters.values()]
            assert own == parameters.replace("**", "").split(", "), name


# ---- what cannot be had ----------------------------------------------------------------------------------------------------

REFUSED = (
    r"there is no adapter for {}, and none can be made up: .*{}.*; write its FamilySpec \(vision_tower_and_layer, and of "
    r"prompt, run_tower, logits and generate what differs\)"
)


def test_tiles_are_refused_with_their_setting(checkpoints):
    said = REFUSED.format("AyaVisionForConditionalGeneration", r"\(7, 3, 32, 32\).*crop_to_patches")
    with pytest.raises(ValueError, match=said):
        mc.load(checkpoints("aya_vision"), device="cpu")


@pytest.fixture
def pair(loaded):
    """A model and its processor to spoil."""
    model = loaded("idefics2")
    return copy.deepcopy(model.module), copy.copy(model.loaded.processor)


def refused(pair, said):
    with pytest.raises(ValueError, match=REFUSED.format(type(pair[0]).__name__, said)):
        mc.load(pair[0], processor=pair[1])


def test_a_processor_that_makes_no_prompt(pair):
    model, processor = pair
    processor.chat_template = "{{ messages[0].nothing.nothing }}"
    refused(pair, "its prompt is not made as usual: Idefics2Processor")


def test_a_processor_that_gives_something_else(pair, monkeypatch):
    monkeypatch.setattr(JointPrompt, "process", lambda *_: {"input_ids": torch.ones(1, 3), "patches": torch.ones(1, 4)})
    refused(pair, "its processor was to give pixel_values, and gives input_ids, patches")


def test_a_second_picture(pair, monkeypatch):
    original = JointPrompt.process
    monkeypatch.setattr(JointPrompt, "process", lambda *args: original(*args) | {"high_res": torch.ones(1, 3, 64, 64)})
    refused(pair, "it sees the photo twice, as pixel_values and as high_res")


def test_a_forward_that_takes_something_else(pair, monkeypatch):
    def forward(**given):
        raise TypeError("what is pixel_values?")

    monkeypatch.setattr(pair[0], "forward", forward)
    refused(pair, "with input_ids, pixel_values, .*its forward fails \\(TypeError: what is pixel_values")


def test_logits_of_something_else(pair):
    model, _ = pair
    model.lm_head.register_forward_hook(lambda _m, _a, logits: logits.roll(1, dims=1) if logits.shape[1] > 1 else logits)
    refused(pair, r"these are not what generate\(\) chose its 3 tokens by")


def test_an_encoder_and_a_decoder(pair):
    pair[0].config.is_encoder_decoder = True
    refused(pair, "an encoder and a decoder of text")


def test_a_photo_that_is_made_symbols(pair):
    """As Emu3's and Chameleon's: no slope reaches the tower."""
    pair[0].model.connector.register_forward_hook(lambda _m, _a, features: features.detach())
    refused(pair, "depend on none of the .* grids of its vision tower")


def test_a_model_that_says_no_words():
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = CLIPModel(CLIPConfig(text_config=small, vision_config=small))
    with pytest.raises(ValueError, match="the CLIPModel holds CLIPModel, for which there is no adapter"):
        mc.load(model, processor=SimpleNamespace(image_processor=1, tokenizer=1))


# ---- finding, on networks small enough to see through ----------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.linear(tokens + tokens.mean(dim=1, keepdim=True)).tanh()


class Tower(nn.Module):
    """A ViT of four blocks with CLS in front, in reading order unless `shuffled`."""

    def __init__(self, shuffled: bool = False) -> None:
        super().__init__()
        self.patches, self.cls = nn.Conv2d(3, 4, 8, 8), nn.Parameter(torch.ones(1, 1, 4))
        self.layers = nn.ModuleList(Block() for _ in range(4))
        self.shuffled = shuffled

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        if self.shuffled:
            tokens = tokens[:, torch.randperm(24, generator=torch.Generator().manual_seed(0))]
        tokens = torch.cat([self.cls, tokens], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


class Teller(nn.Module):
    """Words that read `how` of its tower's tokens."""

    def __init__(self, tower: nn.Module, how) -> None:
        super().__init__()
        self.words, self.tower, self.how = nn.Embedding(3, 4), tower, how

    def forward(self, ids: Tensor, pixels: Tensor) -> Tensor:
        return (self.words(ids) * self.how(self.tower, pixels)).sum()


def look_on(model: Teller):
    """The tower, the layer, and how it lies on pixels 32 x 48."""
    pixels = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with weights_without_gradients(model):
        score, ran = record_calls(model, lambda: model(torch.tensor([1]), pixels.requires_grad_()))
        tower = find_tower(ran, model.words)
        layer, layout = find_layer(tower, ran, score, (32, 48))
    assert all(weight.requires_grad for weight in model.parameters())
    return tower, layer, layout


def test_the_last_block_that_counts():
    tower = Tower()
    for how, last in [
        (lambda tower, pixels: tower(pixels).mean(dim=1), 3),
        (lambda tower, pixels: tower(pixels)[:, 0], 2),  # only CLS is read: behind the last block no patch counts
    ]:
        found, layer, layout = look_on(Teller(tower, how))
        assert found is tower
        assert layer is tower.layers[last]
        assert (layout.shape, layout.extra) == ((4, 6), 1)


def test_a_layer_behind_which_the_words_branch_off():
    """As LLaVA, which reads the last block but one."""

    class Early(Tower):
        def forward(self, pixels: Tensor) -> Tensor:
            seen = []
            handle = self.layers[2].register_forward_hook(lambda _m, _a, out: seen.append(out))
            super().forward(pixels)
            handle.remove()
            return seen[0]

    tower = Early()
    assert look_on(Teller(tower, lambda tower, pixels: tower(pixels).mean(dim=1)))[1] is tower.layers[2]


def test_a_convolutional_tower():
    small, large = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 64, 3, 2), nn.ReLU())
    tower = nn.Sequential(small, large, nn.AdaptiveAvgPool2d(1))
    model = Teller(tower, lambda tower, pixels: tower(pixels).flatten(1)[:, :4])
    found, layer, layout = look_on(model)
    assert found is tower
    assert layer is large[1]  # the stage holds most of the tower: its own last part
    assert not layout.tokens
    assert last_part(tower, [small, *small, large[1]]) is large[1]


@pytest.mark.parametrize(
    ("shape", "then", "now", "expected"),
    [
        ((5, 8), (43, 64), (32, 64), (4, 8)),  # cells of 8 pixels, 3 rows of pixels left over
        ((27, 27), (384, 384), (384, 384), (27, 27)),
        ((27, 27), (384, 384), (768, 384), (54, 27)),
        ((6, 8), (43, 64), (32, 64), (4, 8)),  # the same, filled up
        ((4, 4), (32, 32), (64, 96), (8, 12)),
    ],
)
def test_the_grid_of_a_photo_of_another_size(shape, then, now, expected):
    assert GridLayout(shape, 0, True).at_size(then, now) == expected


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda tower, pixels: tower(pixels).mean(dim=1) + tower(pixels.flip(2)).mean(dim=1), "runs 2 times on one photo"),
        (lambda tower, pixels: pixels.mean(dim=(2, 3)).sum(), "no vision tower"),
        (lambda tower, pixels: tower(pixels).detach().mean(dim=1), "all gradients are zero"),
        (
            lambda tower, pixels: tower.patches(pixels[..., :8, :8])[..., 0, 0],
            "no layer of its vision tower, Conv2d, gives a grid",
        ),
    ],
)
def test_what_is_not_found_is_said(how, said):
    with pytest.raises(ValueError, match=said):
        look_on(Teller(Tower(), how))


def test_tokens_in_another_order_are_refused():
    pixels, layout = torch.randn(1, 3, 32, 48), GridLayout((4, 6), 1, True)
    with torch.no_grad():
        tower = Tower()
        assert find_grid_start(lambda p: tower(p)[0], pixels, layout) == 1
        assert find_grid_start(lambda p: tower(p)[0].roll(-1, 0), pixels, layout) == 0
        mixed = Tower(shuffled=True)
        with pytest.raises(ValueError, match="the 25 tokens of its vision tower are not in reading order"):
            find_grid_start(lambda p: mixed(p)[0], pixels, layout)


def test_near_is_by_the_spread_of_the_logits():
    logits = 100 + torch.randn(1, 3, 50)
    assert logits_agree(logits + 1e-5, logits)
    assert not logits_agree(logits + 0.1 * torch.randn(1, 3, 50), logits)
    assert logits_agree(5 * logits.bfloat16() + 0.01, 5 * logits.bfloat16())
    hidden = logits.clone()
    hidden[..., 0] = -torch.inf
    assert logits_agree(hidden, hidden)
    assert not logits_agree(logits[:, 1:], logits)
