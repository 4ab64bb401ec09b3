"""explain_score(): any number that any network computes."""

import pytest
import torch
from classifiers import small_resnet
from networks import ColourEncoder
from torch import nn

import multimodal_cam as mc

LAYER_METHODS = sorted(name for name, spec in mc.METHODS.items() if spec.kind in ("gradient", "path"))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = small_resnet()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
    return network


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_it_is_captums_grad_cam_for_every_score(network, pixels):
    captum = pytest.importorskip("captum.attr")
    found = mc.explain_score(network, network.layer4, pixels)
    assert found.shape == (2, 7, 2, 2)
    network.eval()
    oracle = captum.LayerGradCam(network, network.layer4)
    for target in range(7):
        theirs = oracle.attribute(pixels, target=target, relu_attributions=False)[:, 0].detach()
        torch.testing.assert_close(found[:, target], theirs, rtol=1e-4, atol=1e-6)


def test_it_is_what_explain_says(network):
    from networks import noise_image

    model = mc.classifier(network, image_size=64)
    pixels = model.preprocess([noise_image()]).pixels
    for method in sorted({*LAYER_METHODS} - {"evidence"}):
        e = mc.explain(model, noise_image(), text="class 3", method=method)
        found = mc.explain_score(lambda x: network(x)[:, 3], network.layer4, pixels, method=method)
        torch.testing.assert_close(found, e.maps, rtol=1e-4, atol=1e-5 * float(e.maps.abs().max()))


@pytest.mark.parametrize("method", LAYER_METHODS)
def test_a_map_has_the_shape_of_its_score_and_the_grid(network, pixels, method):
    options = {"method": method} | ({"baseline": torch.zeros_like(pixels), "n_steps": 2} if method == "evidence" else {})
    shapes = {(2, 7): lambda x: network(x), (2,): lambda x: network(x)[:, 1]}
    for shape, fn in shapes.items():
        found = mc.explain_score(fn, network.layer4, pixels, **options)
        assert (found.shape, found.dtype, found.requires_grad) == ((*shape, 2, 2), torch.float32, False)
    if method != "evidence":
        assert mc.explain_score(lambda x: network(x).sum(), network.layer4, pixels[:1], method=method).shape == (2, 2)


def test_evidence_adds_up_to_the_change_of_the_score(network, pixels):
    nothing = torch.zeros(1, 3, 64, 64)
    found = mc.explain_score(network, network.layer3, pixels, method="evidence", baseline=nothing, n_steps=64)
    network.eval()
    with torch.no_grad():
        change = network(pixels) - network(nothing)
    torch.testing.assert_close(found.sum(dim=(2, 3)), change, rtol=0.02, atol=0.01)


def test_one_forward_pass_gives_all_maps(network, pixels):
    mc.explain_score(network, network.layer4, pixels)  # the layer's axes are measured once
    calls = []
    together = mc.explain_score(lambda x: calls.append(1) or network(x), network.layer4, pixels)
    assert len(calls) == 1
    for i in range(7):
        apart = mc.explain_score(lambda x, i=i: network(x)[:, i], network.layer4, pixels)
        torch.testing.assert_close(together[:, i], apart, rtol=1e-4, atol=1e-7)
    one = mc.explain_score(network, network.layer4, pixels[:1])
    torch.testing.assert_close(one, together[:1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", LAYER_METHODS)
def test_the_map_lies_where_the_number_comes_from(method):
    encoder, pixels = ColourEncoder(), torch.zeros(2, 3, 32, 32)
    pixels[0, 0, 8:16, 24:] = 1  # red in cell (1, 3)
    pixels[1, 1, 16:24, :8] = 1  # green in cell (2, 0)

    def colours(x):
        return encoder(x).square().sum(dim=(2, 3))[:, :2]

    options = {"baseline": torch.zeros_like(pixels)} if method == "evidence" else {}
    maps = mc.explain_score(colours, encoder, pixels, method=method, **options)
    for row, cell in enumerate([(1, 3), (2, 0)]):
        heat = maps[row, row].clamp(min=0)
        assert heat[cell] > 0.98 * heat.sum() > 0


def test_several_inputs_of_any_kind_and_a_method_of_ones_own(network, pixels):
    def fn(x, scale, *, power=1):
        return network(x)[:, 0] * scale**power

    once = mc.explain_score(fn, network.layer4, (pixels, 1.0))
    torch.testing.assert_close(mc.explain_score(fn, network.layer4, [pixels, 3.0]), 3 * once, rtol=1e-4, atol=1e-7)
    own = mc.explain_score(network, network.layer4, pixels, method=lambda a, g: (a * g).sum(dim=1))
    torch.testing.assert_close(own, mc.explain_score(network, network.layer4, pixels, method="hires_cam"))


def test_nothing_of_the_users_is_touched(network, pixels, monkeypatch):
    monkeypatch.setattr("multimodal_cam.core.random_state._times_of_others", dict)  # threads of the test runner draw nothing
    network.train()
    network.layer1.eval()
    modes = {module: module.training for module in network.modules()}
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state, image = torch.random.get_rng_state(), pixels.clone()
    mc.explain_score(lambda x: network(x) + torch.rand(1), network.layer4, pixels)
    with pytest.raises(ZeroDivisionError):
        mc.explain_score(lambda x: network(x) / (1 // 0), network.layer4, pixels)
    assert {module: module.training for module in network.modules()} == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(image, pixels)


def test_frozen_networks_no_grad_and_inference_mode_do_not_matter(network, pixels):
    expected = mc.explain_score(network, network.layer4, pixels)
    network.requires_grad_(False)

    @torch.no_grad()
    def policy(x):
        return network(x)

    torch.testing.assert_close(mc.explain_score(policy, network.layer4, pixels), expected)
    with torch.inference_mode():
        torch.testing.assert_close(mc.explain_score(network, network.layer4, pixels), expected)


def test_bfloat16_gives_float32(network, pixels):
    expected = mc.explain_score(network, network.layer4, pixels)
    found = mc.explain_score(network.bfloat16(), network.layer4, pixels.bfloat16())
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize(
    ("fn", "layer", "message"),
    [
        (lambda n, x: n(x).argmax(dim=1), "layer4", "can be differentiated: return what is computed from it, before argmax"),
        (lambda n, x: n(x).detach(), "layer4", "can be differentiated"),
        (lambda n, x: n(x).tolist(), "layer4", "expected a tensor of scores, got list"),
        (lambda n, x: n(x)[:, :, None], "layer4", r"expected scores \(2,\) or \(2, m\), .* got \(2, 7, 1\)"),
        (lambda n, x: n(x).sum(), "layer4", r"expected scores \(2,\) .* got \(\)"),
        (lambda n, x: n(x)[:1], "layer4", r"got \(1, 7\)"),
        (lambda n, x: n(x) + n(x), "layer4", "ran 2 times in one forward pass"),
        (lambda n, x: n.fc(x.mean(dim=(1, 2, 3))[:, None].expand(-1, 512)), "layer4", "never ran"),
        (lambda n, x: n(x) * 0, "layer4", "the scores do not depend on the layer, Sequential"),
        (lambda n, x: n(x) * torch.inf, "layer4", "the gradient of the scores is not finite"),
        (lambda n, x: n(x), "fc", r"gives shape \(2, 7\), expected a grid"),
    ],
)
def test_what_is_refused(network, pixels, fn, layer, message):
    with pytest.raises(ValueError, match=message):
        mc.explain_score(lambda x: fn(network, x), getattr(network, layer), pixels)


def test_bad_methods_are_refused(network, pixels):
    with pytest.raises(ValueError, match="unknown method 'nonsense'; choose from ablation_cam, "):
        mc.explain_score(network, network.layer4, pixels, method="nonsense")
    with pytest.raises(ValueError, match="pass baseline=, the inputs that stand for nothing"):
        mc.explain_score(network, network.layer4, pixels, method="evidence")
    with pytest.raises(ValueError, match="n_steps: expected 1 or more, got 0"):
        mc.explain_score(network, network.layer4, pixels, method="evidence", baseline=pixels, n_steps=0)


def test_a_flat_score_has_a_map_of_zeros(network, pixels):
    without = network.fc.bias.sum().item()
    found = mc.explain_score(lambda x: (network(x).sum(dim=1) - without).abs().clamp(max=1e-4), network.layer4, pixels)
    assert found.eq(0).all()
