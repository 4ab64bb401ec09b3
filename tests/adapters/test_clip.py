"""Similarity of a text to the photo by open_clip: words add up, maps are gradients, towers of all kinds."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from networks import noise_image
from torch.nn import functional as F

import multimodal_cam as mc
from multimodal_cam.adapters.catalog import layer_rows

open_clip = pytest.importorskip("open_clip")

TEXT = "A brown dog doesn't run: a brown frisbee!"
WORDS = ["A", "brown", "dog", "doesn't", "run", ":", "a", "brown", "frisbee", "!"]
VISION = {
    "RN-tiny": {"layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "convnext-tiny": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"},
    "ViT-tiny": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "ViT-tiny-avg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "pool_type": "avg"},
    "ViT-tiny-timm": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"},
}
LAYERS = {
    "RN-tiny": ("layer4", (2, 2)),
    "convnext-tiny": ("trunk.stages", (2, 2)),
    "ViT-tiny": ("transformer.resblocks.1.ln_1", (4, 4)),
    "ViT-tiny-avg": ("transformer.resblocks.1", (4, 4)),
    "ViT-tiny-timm": ("trunk.blocks.5.norm1", (4, 4)),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Small architectures that open_clip knows by name, as its own; a file of random weights for each."""
    home = tmp_path_factory.mktemp("clip")
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    for name, vision in VISION.items():
        config = {"embed_dim": 16, "vision_cfg": {"image_size": 64, **vision}, "text_cfg": text}
        (home / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(home)
    torch.manual_seed(0)
    for name in VISION:
        network = open_clip.create_model(name)
        with torch.no_grad():
            for weight in network.visual.parameters():
                weight.copy_(torch.randn_like(weight) * (weight[0].numel() ** -0.5 if weight.ndim > 1 else 1))
        torch.save(network.state_dict(), home / f"{name}.pt")
    return {name: home / f"{name}.pt" for name in VISION}


@pytest.fixture(scope="module")
def load(files):
    models = {}

    def loaded(name):
        if name not in models:
            models[name] = mc.load(f"open_clip:{name}", weights=files[name], device="cpu")
        return models[name]

    return loaded


@pytest.fixture(params=LAYERS)
def model(request, load):
    return load(request.param)


def own(model):
    return LAYERS[model.name.partition(":")[2]]


def similarity(model, image, text):
    """As open_clip computes it, scaled."""
    network = model.module.eval()
    with torch.no_grad():
        photo = network.encode_image(model.preprocess([image]).pixels, normalize=True)
        read = network.encode_text(open_clip.tokenize([text]), normalize=True)
    return (network.logit_scale.exp() * photo @ read.T)[0, 0]


# ---- what is explained -------------------------------------------------------------------------------------------------------


def test_words_add_up_to_the_similarity(model):
    image = noise_image(0, (96, 64))
    e = mc.explain(model, image, text=TEXT)
    assert [word.text for word in e.words] == WORDS
    assert (e.method, e.score, e.layer) == ("grad_cam", "logit", f"visual.{own(model)[0]}")
    assert e.token_maps.shape[1:] == own(model)[1]
    said, before = "", similarity(model, image, "")
    for word in e.words:
        said = TEXT[: TEXT.index(word.text, len(said)) + len(word.text)]
        after = similarity(model, image, said)
        torch.testing.assert_close(e.token_scores[word.start : word.stop].sum(), after - before, rtol=1e-3, atol=1e-4)
        before = after


def test_the_map_of_a_text_is_that_of_its_similarity(load):
    """All maps together are Grad-CAM of `s(text) - s("")`, by autograd on the whole network."""
    model, image = load("RN-tiny"), noise_image(1, (64, 64))
    e = mc.explain(model, image, text=TEXT)
    network, seen = model.module.eval(), []
    handle = model.layer.register_forward_hook(lambda _m, _a, output: seen.append(output) or output.retain_grad())
    photo = network.encode_image(model.preprocess([image]).pixels, normalize=True)
    handle.remove()
    read = network.encode_text(open_clip.tokenize([TEXT, ""]), normalize=True).detach()
    (network.logit_scale.exp() * photo @ read.T)[0].diff().neg().backward()
    network.zero_grad()
    expected = (seen[0] * seen[0].grad.mean(dim=(2, 3), keepdim=True)).sum(dim=1)[0]
    torch.testing.assert_close(e.token_maps.sum(dim=0), expected.detach(), rtol=1e-3, atol=1e-5)


def test_evidence_adds_up(model):
    e = mc.explain(model, noise_image(2, (64, 96)), text=TEXT, method="evidence")
    changes = e.maps.sum(dim=(1, 2)) + e.unplaced - e.completeness
    assert changes.abs().max() > 0.01
    assert (e.completeness.abs() <= 0.01 * changes.abs() + 0.01).all()
    assert bool(e.unplaced.any()) == (model.name in ("open_clip:ViT-tiny", "open_clip:ViT-tiny-timm"))  # CLS; else a mean


def test_log_prob_is_that_of_the_longer_text_of_two(load):
    model, image = load("RN-tiny"), noise_image(3)
    gain = similarity(model, image, "a dog") - similarity(model, image, "a")
    e = mc.explain(model, image, text="a dog", score="log_prob")
    torch.testing.assert_close(e.token_scores[1], F.logsigmoid(gain), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(e.token_log_probs[1], F.logsigmoid(gain), rtol=1e-3, atol=1e-4)
    assert e.token_maps[1].any()


def test_several_texts_and_photos_equal_each_alone(model):
    photos, texts = [noise_image(i, (80, 64)) for i in (4, 5)], ["a brown dog runs", "two"]
    together = mc.explain(model, photos, text=texts, method="evidence", n_steps=4)
    same = mc.explain(model, [photos[0], photos[0]], text=texts, method="evidence", n_steps=4)
    for photo, text, one in zip(photos, texts, together, strict=True):
        alone = mc.explain(model, photo, text=text, method="evidence", n_steps=4)
        torch.testing.assert_close(one.maps, alone.maps, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(one.reliance, alone.reliance, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(same[0].maps, together[0].maps, rtol=1e-3, atol=1e-5)


def test_the_crops_map_lies_on_the_photo(load):
    e = mc.explain(load("RN-tiny"), noise_image(6, (128, 64)), text="a dog")
    assert e.placement.frame == pytest.approx((0.25, 0, 0.75, 1), abs=1e-3)


def test_the_text_is_read_once(load, monkeypatch):
    model, image, read = load("RN-tiny"), noise_image(7), []
    original = type(model.module).encode_text
    monkeypatch.setattr(
        type(model.module), "encode_text", lambda self, *args, **more: read.append(1) or original(self, *args, **more)
    )
    e = mc.explain(model, image, text="a red ball", method="evidence")
    assert len(read) == 1
    with torch.no_grad():
        model.module.text_projection.mul_(-1)
        other = mc.explain(model, image, text="a red ball", method="evidence")
        model.module.text_projection.mul_(-1)
    assert len(read) == 2
    torch.testing.assert_close(other.token_scores, -e.token_scores)


def test_words_without_the_users_wording(load):
    model = load("RN-tiny")
    ids = model.tokenize(["A  Brown frisbee, don't <end_of_text>"])[0].tolist()
    assert [word.text for word in model.spans(ids)] == ["a", "brown", "frisbee", ",", "don", "'t"]
    assert model.tokens(ids)[:2] == ["a</w>", "brown</w>"]


def test_layers_are_listed(load):
    rows = {row["layer"]: row for row in layer_rows(load("RN-tiny"))}
    assert (rows["visual.layer4"]["default"], rows["visual.layer4"]["used"]) == (True, True)
    rows = {row["layer"]: row["used"] for row in layer_rows(load("ViT-tiny"))}
    assert rows["visual.transformer.resblocks.1.ln_1"]
    assert not rows["visual.transformer.resblocks.1"]  # no patch counts any more
    e = mc.explain(load("ViT-tiny"), noise_image(8), text="a dog", layer="visual.transformer.resblocks.0")
    assert e.token_maps.shape[1:] == (4, 4)


# ---- what is refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "compares texts with photos and says none: pass text="),
        ({"text": "<end_of_text>"}, "expected a text of 1 to 75 tokens, got 0"),
        ({"text": "dog " * 76}, "expected a text of 1 to 75 tokens, got 76"),
        ({"text": "a dog", "question": "what?"}, "takes no question"),
        ({"text": "a dog", "instead_of": {"dog": "cat"}}, "explain both texts, and subtract"),
    ],
)
def test_what_cannot_be_explained(load, options, said):
    with pytest.raises(ValueError, match=said):
        mc.explain(load("RN-tiny"), noise_image(), **options)


@pytest.mark.parametrize(
    ("name", "options", "kind", "said"),
    [
        ("RN-tinny", {}, ValueError, "open_clip has no 'RN-tinny'; near: RN-tiny"),
        ("RN50/nobody", {}, ValueError, "has no weights 'nobody'; it has openai, yfcc15m, cc12m"),
        ("ViT-B-16-SigLIP", {}, ValueError, "only models with CLIP's tokenizer are supported"),
        ("RN-tiny", {"weights": __file__}, ValueError, "does not hold the weights of open_clip:RN-tiny"),
        ("RN-tiny", {}, OSError, "pass weights=FILE"),
    ],
)
def test_what_cannot_be_loaded(files, name, options, kind, said):
    options = {key: files[name] if value is True else value for key, value in options.items()}
    with pytest.raises(kind, match=said):
        mc.load(f"open_clip:{name}", device="cpu", **options)


def test_without_open_clip(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ImportError, match=r"pip install .multimodal-cam\[open_clip\]"):
        mc.load("open_clip:RN50")
