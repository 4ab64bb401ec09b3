"""Doubt of a captioner's own nouns, from the fit beside the weights to JSON, page, figure and disk."""

import math
from dataclasses import replace

import pytest
import torch
from networks import noise_image
from toys import toy_explanation

import multimodal_cam as mc
from multimodal_cam.adapters.bundled import NICAdapter
from multimodal_cam.models.bundle import load_model, save_model
from multimodal_cam.models.doubt_fit import DoubtFit, write_doubt
from multimodal_cam.models.nic.network import NIC, NICConfig
from multimodal_cam.models.vocabulary import Vocabulary
from multimodal_cam.models.word_signals import confidence
from multimodal_cam.render.remarks import note, remarks
from multimodal_cam.results.json_records import record

VOCABULARY = Vocabulary(("<eos>", "<bos>", "<unk>", "a", "dog", "runs", "on", "grass"))
FIT = DoubtFit((0.0,) * 4, (1.0,) * 4, (-1.0, 0.0, -0.5, 0.25), 0.5, ("dog", "grass", "guitar"))
DOUBTED = replace(toy_explanation("a dog chases a ball"), token_doubt=torch.tensor([torch.nan, 0.2, torch.nan, torch.nan, 0.9]))


@pytest.fixture(scope="module")
def adapter():
    torch.manual_seed(0)
    network = NIC(NICConfig(8, width=32, max_words=4, image_size=64)).eval()
    with torch.no_grad():
        network.embedding.weight.mul_(8)
    return NICAdapter(network, VOCABULARY)


@pytest.fixture
def doubting(adapter, monkeypatch):
    monkeypatch.setattr(adapter, "doubt_fit", FIT)
    return adapter


@pytest.mark.parametrize("layer", [None, "encoder"])
def test_nouns_of_own_captions_are_doubted_by_their_numbers(doubting, layer):
    options = {} if layer is None else {"layer": layer, "method": "grad_cam"}
    e = mc.explain(doubting, noise_image(), **options)
    ids = torch.tensor([VOCABULARY.encode(e.tokens)])
    inputs = doubting.preprocess([noise_image()])
    confident = confidence(doubting.network, doubting.layer_activations(inputs), ids)[0]
    for i, part in enumerate(e):
        if part.text in ("dog", "grass"):
            odds = -part.log_prob - 0.5 * float(confident[i]) + 0.25 * i + 0.5
            assert part.doubt == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-4)
        else:
            assert part.doubt is None


def test_without_a_fit_and_of_a_persons_text_nothing_is_doubted(adapter, doubting, monkeypatch):
    assert mc.explain(doubting, noise_image(), text="a dog").token_doubt is None
    monkeypatch.setattr(adapter, "doubt_fit", None)
    assert mc.explain(adapter, noise_image()).token_doubt is None


def test_a_fit_beside_the_weights_is_loaded_and_that_of_others_is_not(adapter, tmp_path, caplog):
    save_model(adapter.network, VOCABULARY, tmp_path, training={})
    write_doubt(tmp_path, FIT, load_model(tmp_path).sha256, 1)
    assert mc.load(tmp_path, device="cpu").doubt_fit == FIT
    write_doubt(tmp_path, FIT, "another hash", 1)
    assert mc.load(tmp_path, device="cpu").doubt_fit is None
    assert "belongs to other weights" in caplog.text


def test_a_doubtful_word_is_said_everywhere(tmp_path):
    assert [part.text for part in DOUBTED if part.is_doubtful] == ["ball"]
    assert DOUBTED["a ball"].doubt is None
    assert note(DOUBTED["ball"]).endswith(", doubtful")
    (line,) = remarks(DOUBTED)
    assert line.startswith("“ball” (")
    assert "word 5 of 5" in line
    assert "doubtful" in line
    words = record("photo.jpg", DOUBTED)["words"]
    assert [word.get("doubt") for word in words] == [None, 0.2, None, None, 0.9]
    assert [word.get("doubtful") for word in words] == [None, False, None, None, True]
    page = DOUBTED.to_html()
    assert page.count('class="doubtful"') == 1
    loaded = mc.Explanation.load(DOUBTED.save(tmp_path / "e"))
    torch.testing.assert_close(loaded.token_doubt, DOUBTED.token_doubt, equal_nan=True)


def test_without_doubt_nothing_is_said():
    e = toy_explanation("a dog chases a ball")
    assert remarks(e) == []
    assert "doubt" not in record("photo.jpg", e)["words"][1]
    assert 'class="doubtful"' not in e.to_html()
