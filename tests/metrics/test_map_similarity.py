import pytest
import torch
from networks import QuadrantDecoder, noise_image, small_captioner
from torch import nn

import multimodal_cam as mc
from multimodal_cam.core.randomization import cascade
from multimodal_cam.metrics.map_correlation import rank_correlation
from multimodal_cam.metrics.map_similarity import random_others, similarities, ssim


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_ssim_by_hand():
    """One window of 2 x 2 cells: means 1/2 and 0; variances 1/3 and 4/3, covariance 2/3 (of 4 cells, unbiased)."""
    a, b = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    c1, c2 = 0.02**2, 0.06**2
    expected = (c1 / (1 / 4 + c1)) * ((4 / 3 + c2) / (1 / 3 + 4 / 3 + c2))
    assert ssim(a, b, window=2).item() == pytest.approx(expected)


def test_ssim_equals_scikit_image_on_the_authors_settings():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = maps(4, 14, 9), maps(4, 14, 9, seed=1)
    scaled = [[m / m.abs().max() for m in several.double()] for several in (a, b)]
    expected = [
        metrics.structural_similarity(x.numpy(), y.numpy(), win_size=5, data_range=2) for x, y in zip(*scaled, strict=True)
    ]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-12)


def test_ssim_of_equal_empty_and_small_maps():
    a = maps(2, 3, 7, 7)
    assert torch.allclose(ssim(a, 1e-12 * a), torch.ones(2, 3, dtype=torch.float64))
    assert ssim(torch.zeros(7, 7), torch.zeros(7, 7)).item() == 1
    with pytest.raises(ValueError, match="at least 5 x 5"):
        ssim(maps(4, 7), maps(4, 7))


def test_similarities_are_records_in_the_stages_order():
    before = maps(2, 6, 6)
    found = similarities(before, ((name, after) for name, after in [("same", before), ("turned", -before)]))
    assert [(r.stage, r.item) for r in found] == [("same", 0), ("same", 1), ("turned", 0), ("turned", 1)]
    assert (found[0].ssim, found[0].rank, found[0].rank_abs) == pytest.approx((1, 1, 1))
    assert found[2].rank == pytest.approx(-1)
    assert found[2].rank_abs == pytest.approx(1)
    assert found[2].ssim < 0.5
    with pytest.raises(ValueError, match="head: expected maps of shape"):
        similarities(before, [("head", before[:1])])


def test_random_others_are_of_another_group_and_any_of_them():
    groups = ["a", "b", "a", "c", "b", "a"]
    drawn = [random_others(groups, seed) for seed in range(300)]
    assert all(groups[i] != groups[j] for chosen in drawn for i, j in enumerate(chosen))
    assert {chosen[0] for chosen in drawn} == {1, 3, 4}
    assert {chosen[3] for chosen in drawn} == {0, 1, 2, 4, 5}
    assert sum(chosen[3] == 5 for chosen in drawn) == pytest.approx(60, abs=25)
    assert random_others(groups, 7) == random_others(groups, 7)
    with pytest.raises(ValueError, match="two groups"):
        random_others(["a", "a"])


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module, before):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


class Network(nn.Module):
    """A head that shares its weights with the embedding, a batch norm, and a parameter that no layer resets."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.scale = QuadrantDecoder()
        self.embedding = nn.Embedding(6, 4)
        self.readout = nn.Linear(4, 6)
        self.readout.weight = self.embedding.weight
        with torch.no_grad():
            self.encoder[1].running_mean.fill_(3)
        self.scale.weight = nn.Parameter(torch.arange(50.0))


def test_cascade_forgets_stage_by_stage_and_remembers_all():
    network = Network().train()
    network.readout.bias.requires_grad_(False)
    before, random = state(network), torch.get_rng_state()
    with cascade(network, ["readout", "scale", "encoder"]) as stages:
        assert next(stages) == "readout"
        assert changed(network, before) == {"readout.weight", "readout.bias", "embedding.weight"}
        assert next(stages) == "scale"
        assert "scale.weight" in changed(network, before)
        assert network.scale.weight.sort().values.equal(torch.arange(50.0))
        assert next(stages) == "encoder"
        assert {"encoder.0.weight", "encoder.1.running_mean", "readout.weight"} <= changed(network, before)
        assert next(stages, None) is None
    assert changed(network, before) == set()
    assert network.training
    assert not network.readout.bias.requires_grad
    assert network.readout.weight is network.embedding.weight
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_cascade_gives_back_after_an_error_and_after_half_of_it():
    network = Network()
    before = state(network)

    def interrupted():
        with cascade(network, ["", "encoder"]) as stages:
            next(stages)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert changed(network, before) == set()


def test_cascade_is_seeded_whatever_is_drawn_in_between():
    network = Network()

    def weights(seed, draw):
        with cascade(network, ["readout", "encoder"], seed) as stages:
            for _ in stages:
                torch.rand(draw)
            return network.encoder[0].weight.detach().clone()

    assert torch.equal(weights(0, 1), weights(0, 50))
    assert not torch.equal(weights(0, 1), weights(1, 1))


def test_cascade_names_near_submodules_and_changes_nothing():
    network = Network()
    before = state(network)
    with pytest.raises(ValueError, match="no submodule 'readuot'; near: readout"), cascade(network, ["encoder", "readuot"]):
        pass
    assert changed(network, before) == set()


def test_maps_of_a_network_that_forgot_differ_and_come_back():
    model, photo, text = small_captioner(), noise_image(), "a dog runs on grass"
    before = mc.explain(model, photo, text=text).maps
    names = ["decoder.readout", "decoder", "encoder"]
    with cascade(model.module, names) as stages:
        after = {name: mc.explain(model, photo, text=text).maps for name in stages}
    assert list(after) == names
    assert all(rank_correlation(before, maps).mean() < 0.9 for maps in after.values())
    assert torch.equal(before, mc.explain(model, photo, text=text).maps)
