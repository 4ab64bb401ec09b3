"""`explain_score` by methods of pixels."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import multimodal_cam as mc

PIXELS = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def slow_gradients(network, i):
    """The gradient of score `i` of each picture."""
    pixels = PIXELS.clone().requires_grad_()
    return torch.autograd.grad(network(pixels)[:, i].sum(), pixels)[0]


def test_maps_are_gradients_of_each_score(network):
    found = mc.explain_score(network, None, PIXELS, method="gradient")
    assert found.shape == (2, 5, 3, 12, 10)
    for i in range(5):
        torch.testing.assert_close(found[:, i], slow_gradients(network, i))
    one = mc.explain_score(lambda x: network(x)[:, 2], None, {"x": PIXELS}, method="gradient_x_input")
    torch.testing.assert_close(one, found[:, 2] * PIXELS)
    assert mc.explain_score(lambda x: network(x)[0, 1], None, PIXELS[:1], method="guided_backprop").shape == (3, 12, 10)
    assert not network[0].weight.grad


def test_a_path_adds_up(network):
    options = {"method": "pixel_integrated_gradients", "n_steps": 64}
    found = mc.explain_score(network, None, PIXELS, baseline=torch.zeros(1, 3, 12, 10), **options)
    change = (network(PIXELS) - network(torch.zeros(1, 3, 12, 10))).detach()
    torch.testing.assert_close(found.sum(dim=(2, 3, 4)), change, rtol=0.02, atol=1e-3)
    with pytest.raises(ValueError, match="pixel_integrated_gradients is counted from something"):
        mc.explain_score(network, None, PIXELS, **options)


def test_guided_grad_cam_is_the_product(network):
    found = mc.explain_score(network, network[2], PIXELS, method="guided_grad_cam")
    guided = mc.explain_score(network, None, PIXELS, method="guided_backprop")
    cams = mc.explain_score(network, "2", PIXELS, method="grad_cam").relu()
    drawn = F.interpolate(cams, (12, 10), mode="bilinear")
    torch.testing.assert_close(found, guided * drawn[:, :, None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gradient", "layer": "0"}, "gradient is of the picture's pixels, not of a layer: pass layer=None"),
        ({"method": "guided_grad_cam"}, "guided_grad_cam multiplies with the Grad-CAM of one run of a layer"),
        ({"method": "grad_cam"}, "layer: grad_cam explains one of a network's"),
        ({"method": "gradient", "inputs": (PIXELS, PIXELS)}, "expected inputs with one picture .* got 2"),
        ({"method": "gradient", "inputs": PIXELS.to(torch.uint8)}, r"floating-point numbers, got torch.uint8"),
        ({"method": "gradient", "fn": lambda x: x.detach().sum(dim=(1, 2, 3))}, "do not depend on the pixels"),
        ({"method": "guided_backprop", "fn": lambda x: F.silu(x).sum(dim=(1, 2, 3))}, r"no.* \(there are Silu\): take method"),
        ({"method": "gradient", "fn": lambda x: (x - x.mean()).square().sum(dim=(1, 2, 3))}, "hang together"),
    ],
)
def test_what_is_refused(network, options, message):
    options = {"fn": lambda *x: network(x[0]), "layer": None, "inputs": PIXELS} | options
    with pytest.raises(ValueError, match=message):
        mc.explain_score(options.pop("fn"), options.pop("layer"), options.pop("inputs"), **options)
