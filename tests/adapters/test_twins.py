"""The twins with attention: they attend, their attention is a method like another, and they train like their twins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import noise_image, small_captioner

import multimodal_cam as mc
from multimodal_cam.adapters.bundled import SANAdapter, SATAdapter
from multimodal_cam.adapters.labels import Labels
from multimodal_cam.models.bundle import load_model, save_model
from multimodal_cam.models.nic.network import NIC, NICConfig
from multimodal_cam.models.san.network import SAN, SANConfig
from multimodal_cam.models.sat.network import SAT, SATConfig
from multimodal_cam.models.training.caption_losses import doubly_stochastic
from multimodal_cam.models.training.captioner_training import TrainingOptions
from multimodal_cam.models.vocabulary import BOS, EOS, Vocabulary

WORDS = Vocabulary(("<eos>", "<bos>", "<unk>", "a", "dog", "runs", "on", "grass"))
TEXT = "a dog on grass"
QUESTION = "a dog runs"


@pytest.fixture(scope="module")
def sat():
    torch.manual_seed(0)
    network = SAT(SATConfig(len(WORDS), width=32, attention=16, max_words=6)).eval()
    with torch.no_grad():
        network.energy.weight.mul_(20)  # so that words look at different places
        network.from_state.weight.mul_(5)
        network.baseline.uniform_(0, 1)
    return SATAdapter(network, WORDS, "sat")


@pytest.fixture(scope="module")
def san():
    torch.manual_seed(0)
    network = SAN(SANConfig(len(WORDS), 4, width=32, embedding=8, hidden=8, attention=16)).eval()
    with torch.no_grad():
        for energy in network.energy:
            energy.weight.mul_(20)
        network.baseline.uniform_(0, 1)
    return SANAdapter(network, WORDS, Labels(["stick", "ball", "yes", "no"]), "san")


def test_attention_is_a_distribution_over_the_grid(sat, san):
    words = mc.explain(sat, noise_image(), text=TEXT, method="attention")
    assert words.maps.shape == (4, 14, 14)
    torch.testing.assert_close(words.maps.sum(dim=(1, 2)), torch.ones(4))
    assert not torch.allclose(words.maps[0], words.maps[3])
    answer = mc.explain(san, noise_image(), question=QUESTION, method="attention")
    torch.testing.assert_close(answer.maps.sum(dim=(1, 2)), torch.ones(1))
    assert all(torch.equal(map, answer.maps[0]) for map in answer.answer_maps.values())  # it is the question's


@pytest.mark.parametrize("method", ["evidence", "grad_cam", "hires_cam"])
def test_gradient_methods_work_on_the_twins(sat, san, method):
    words = mc.explain(sat, noise_image(), text=TEXT, method=method, n_steps=64)
    answer = mc.explain(san, noise_image(), question=QUESTION, method=method, score="log_prob", n_steps=64)
    for e in (words, answer):
        assert e.maps.abs().max() > 0
        if method == "evidence":
            assert e.completeness.abs().max() < 0.01


def test_a_batch_equals_one_by_one(sat):
    images, texts = [noise_image(0), noise_image(1)], ["a dog", TEXT]
    for method in ("attention", "grad_cam"):
        for e, image, text in zip(mc.explain(sat, images, text=texts, method=method), images, texts, strict=True):
            torch.testing.assert_close(e.maps, mc.explain(sat, image, text=text, method=method).maps, rtol=1e-4, atol=1e-6)


def test_phrases_add_up_to_the_whole(sat):
    e = mc.explain(sat, noise_image(), text=TEXT, method="attention")
    torch.testing.assert_close(e["on grass"].map, e.maps[2] + e.maps[3])


def test_what_it_says_has_the_probability_that_the_search_found(sat):
    network = sat.network
    cells = torch.rand(2, 32, 4, 4, generator=torch.Generator().manual_seed(0)) * 3
    with torch.no_grad():
        ids, found = network.generate(cells, beam=2)
        for row, score in zip(ids, found, strict=True):
            said = torch.tensor([[*(i for i in row.tolist() if i >= 0), EOS]])
            cell = cells[:1] if torch.equal(row, ids[0]) else cells[1:]
            log_probs = network.decode(cell, said).log_softmax(-1).gather(-1, said[..., None])
            assert log_probs.sum().item() == pytest.approx(score.item(), rel=1e-4)
    assert BOS not in ids


def test_models_without_attention_refuse_it_by_name():
    with pytest.raises(ValueError, match="captioner has no attention to show; choose from ablation_cam, deconvnet, "):
        mc.explain(small_captioner(), noise_image(), text="a dog", method="attention")


def test_attention_is_over_its_own_grid(sat):
    with pytest.raises(ValueError, match="attention is over the grid of 'project': leave layer='encoder' out"):
        mc.explain(sat, noise_image(), text=TEXT, method="attention", layer="encoder")


def test_the_doubly_stochastic_penalty_by_hand():
    attention = torch.tensor([[[0.5, 0.5], [1.0, 0.0], [0.9, 0.1]]])
    real = torch.tensor([[True, True, False]])
    assert doubly_stochastic(attention, real).tolist() == pytest.approx([((1 - 1.5) ** 2 + (1 - 0.5) ** 2) / 2])


def test_sat_trains_on_a_borrowed_encoder(tmp_path: Path):
    from test_training import train, write_dataset

    torch.manual_seed(1)
    (tmp_path / "lender").mkdir()
    lender = save_model(NIC(NICConfig(8, width=16)), WORDS, tmp_path / "lender", training={})
    write_dataset(tmp_path)
    tiny = TrainingOptions(
        epochs=2, batch_size=2, min_count=1, width=16, train_stride=32, stride=32, network="sat", encoder=str(lender)
    )
    trained = load_model(train(tmp_path, "out", tiny))
    assert trained.spec.name == "sat"
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < 0.2 * (lender / "model.safetensors").stat().st_size
    lent = load_model(lender).network.encoder.state_dict()
    assert all(torch.equal(value, lent[key]) for key, value in trained.network.encoder.state_dict().items())
    assert mc.explain(mc.load(tmp_path / "out"), noise_image(), method="attention").maps.isfinite().all()


def test_san_trains_like_its_twin(tmp_path: Path):
    from test_lstm_q import TINY, questions

    from multimodal_cam.models.training.vqa_training import VQAOptions, train_vqa

    lender = tmp_path / "lender"
    lender.mkdir()
    torch.manual_seed(1)
    save_model(NIC(NICConfig(8, width=16)), WORDS, lender, training={})
    for i in range(6):
        noise_image(i).save(tmp_path / f"photo {i}.jpg")
    options = VQAOptions(**vars(TINY) | {"network": "san", "encoder": str(lender), "epochs": 1})
    out = train_vqa(
        images=tmp_path,
        train=questions(range(4)),
        dev=questions(range(4, 6)),
        out=tmp_path / "out",
        options=options,
        device=torch.device("cpu"),
        progress=lambda *_: None,
    )
    e = mc.explain(mc.load(out), tmp_path / "photo 0.jpg", question="what is it?", method="attention")
    assert e.text in {"yes", "cat", "dog"}
