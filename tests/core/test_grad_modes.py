"""Gradients where a user's forward switches them off: the map of the function, or the line that loses it."""

import inspect

import pytest
import torch
from networks import Decoder, Encoder, noise_image, small_captioner
from torch import nn
from torch.utils.checkpoint import checkpoint

import multimodal_cam as mc

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # a checkpoint's, without gradients


def no_grad_block(run, x):
    with torch.no_grad():
        return run(x)


def inference_block(run, x):
    with torch.inference_mode():
        return run(x)


def set_block(run, x):
    with torch.set_grad_enabled(False):
        return run(x)


def switched_off_for_good(run, x):
    torch.set_grad_enabled(False)
    return run(x)


FREEZERS = {
    "no_grad": no_grad_block,
    "no_grad decorator": lambda run, x: torch.no_grad()(run)(x),
    "inference_mode": inference_block,
    "inference_mode decorator": lambda run, x: torch.inference_mode()(run)(x),
    "set_grad_enabled": set_block,
    "for good": switched_off_for_good,
    "blocks in blocks": lambda run, x: no_grad_block(lambda y: inference_block(run, y), x),
    "reentrant checkpoint": lambda run, x: checkpoint(run, x, use_reentrant=True),
    "checkpoint": lambda run, x: checkpoint(run, x, use_reentrant=False),
    "detached after": lambda run, x: run(x),
}


class Frozen(nn.Module):
    """A backbone that `freeze` runs, as Show-and-Tell tutorials do, and a head."""

    def __init__(self, freeze=None):
        super().__init__()
        torch.manual_seed(0)
        self.freeze = freeze or (lambda run, x: run(x))
        self.early = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.Tanh())
        self.out = nn.Linear(6, 4)

    def forward(self, pixels):
        grid = self.freeze(lambda x: self.late(self.early(x)), pixels)
        return self.out((grid * grid).mean(dim=(2, 3)))


def classified(network, **options):
    return mc.explain(mc.classifier(network, image_size=32), noise_image(), text="class 1", **options)


@pytest.mark.parametrize("layer", ["early", "late", "late.0"])
@pytest.mark.parametrize("method", ["grad_cam", "evidence"])
@pytest.mark.parametrize("name", FREEZERS)
def test_a_backbone_that_is_frozen_in_the_forward(name, method, layer):
    expected = classified(Frozen(), method=method, layer=layer)
    network = Frozen(FREEZERS[name])
    found = classified(network, method=method, layer=layer)
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-7)
    pixels = torch.randn(2, 3, 32, 32)
    score = mc.explain_score(network, layer, pixels)
    torch.testing.assert_close(score, mc.explain_score(Frozen(), layer, pixels), rtol=1e-4, atol=1e-7)
    assert torch.is_grad_enabled()
    assert torch.no_grad.__enter__.__module__ == "torch.autograd.grad_mode"


@pytest.mark.parametrize("name", FREEZERS)
def test_an_encoder_that_is_frozen_in_the_forward(name):
    class FrozenEncoder(Encoder):
        def forward(self, pixels):
            return FREEZERS[name](super().forward, pixels)

    twin, model = small_captioner(), small_captioner()
    model.encoder.__class__ = FrozenEncoder
    for layer in (None, "encoder.norm"):
        for method in ("grad_cam", "evidence"):
            options = {"text": "a red dog", "layer": layer, "method": method}
            expected = mc.explain(twin, noise_image(), **options)
            torch.testing.assert_close(mc.explain(model, noise_image(), **options).maps, expected.maps, rtol=1e-4, atol=1e-6)
    assert mc.explain(model, noise_image()).text == mc.explain(twin, noise_image()).text


def test_weights_made_in_inference_mode():
    expected = classified(Frozen())
    with torch.inference_mode():
        network = Frozen()
    weight = network.out.weight
    torch.testing.assert_close(classified(network).maps, expected.maps)
    pixels = torch.randn(2, 3, 32, 32)
    found = mc.explain_score(network, "late", pixels)
    torch.testing.assert_close(found, mc.explain_score(Frozen(), "late", pixels))
    assert network.out.weight is weight
    assert weight.is_inference()


def test_everything_frozen():
    network = Frozen().requires_grad_(False)
    torch.testing.assert_close(classified(network).maps, classified(Frozen()).maps)


# ---- gradients that are lost behind the layer: the true reason -----------------------------------------------------------------


class Lost(Frozen):
    def __init__(self, lose):
        super().__init__()
        self.lose = lose

    def forward(self, pixels):
        grid = self.late(self.early(pixels))
        return self.out(self.lose(grid).mean(dim=(2, 3)))


def behind(x):
    with torch.no_grad():  # the line that is named
        return x * 2


def detached(x):
    return x.detach() * 2


def data(x):
    return x.data * 2


def numpy(x):
    return torch.from_numpy(x.numpy() * 2)


def detached_numpy(x):
    return torch.from_numpy(x.detach().numpy() * 2)


def line_of(function, offset):
    return f"{__file__}:{inspect.getsourcelines(function)[1] + offset}"


LOSSES = {
    "block": (behind, 1, r"switches gradients off behind layer '.*', at {} \(torch.no_grad\)"),
    "detach": (detached, 1, r"cuts the gradient behind layer '.*', at {} \(.detach\(\)\)"),
    "data": (data, 1, r"cuts the gradient behind layer '.*', at {} \(.data\)"),
    "numpy": (numpy, 1, r"leaves PyTorch for numpy behind layer '.*', at {}: no gradient comes back"),
    "detached numpy": (detached_numpy, 1, r"cuts the gradient behind layer '.*', at {} \(.detach\(\)\)"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_line_that_loses_the_gradient_is_named(name):
    lose, offset, message = LOSSES[name]
    message = message.format(line_of(lose, offset))
    with pytest.raises(ValueError, match=message):
        mc.explain_score(Lost(lose), "late", torch.randn(2, 3, 32, 32))
    model = mc.classifier(Lost(lose), image_size=32, layer="late")
    for layer in ("late", "early"):
        with pytest.raises(ValueError, match=message) as caught:
            mc.explain(model, noise_image(), text="class 1", layer=layer)
        assert "does not depend" not in str(caught.value)

    class LossyDecoder(Decoder):
        def forward(self, features, ids):
            return super().forward(lose(features), ids)

    with pytest.raises(ValueError, match=message):
        mc.explain(small_captioner(decoder=LossyDecoder(), cuts=False), noise_image(), text="a red dog")


def test_a_part_that_is_detached_on_purpose_stays_so():
    class Gate(Frozen):
        def forward(self, pixels):
            grid = self.late(self.early(pixels))
            with torch.no_grad():
                gate = grid.abs().mean(dim=(2, 3), keepdim=True)
            return self.out((gate * grid).mean(dim=(2, 3)))

    network = Gate().eval()
    pixels = torch.randn(1, 3, 32, 32)
    grid = network.late(network.early(pixels)).detach().requires_grad_()
    gate = grid.detach().abs().mean(dim=(2, 3), keepdim=True)
    (gradient,) = torch.autograd.grad(network.out((gate * grid).mean(dim=(2, 3)))[0, 1], grid)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * grid).sum(dim=1).detach()
    torch.testing.assert_close(mc.explain_score(lambda x: network(x)[:, 1], network.late, pixels), expected)
    model = mc.classifier(network, image_size=32, layer="late")
    pixels = model.preprocess([noise_image()]).pixels
    grid = network.late(network.early(pixels)).detach().requires_grad_()
    gate = grid.detach().abs().mean(dim=(2, 3), keepdim=True)
    (gradient,) = torch.autograd.grad(network.out((gate * grid).mean(dim=(2, 3)))[0, 1], grid)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * grid).sum(dim=1).detach()
    torch.testing.assert_close(mc.explain(model, noise_image(), text="class 1").maps, expected)


def test_blocks_and_checkpoints_are_pytorchs_own_again():
    classified(Frozen(no_grad_block))
    weight = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not (weight * 2).requires_grad
    with torch.inference_mode():
        assert (weight * 2).is_inference()
    assert checkpoint(lambda x: x * 2, weight, use_reentrant=True).grad_fn.name() == "CheckpointFunctionBackward"


def test_a_block_that_does_not_hold_the_layers_values_is_no_reason():
    """As in language models, which compute their positions without gradients, whatever layer is looked at."""

    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.used = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, pixels):
            self.unused(pixels)
            with torch.no_grad():
                positions = torch.arange(4.0)
            return self.used(pixels).mean(dim=(2, 3)) + positions

    with pytest.raises(ValueError, match="do not depend on the layer"):
        mc.explain_score(Aside(), "unused", torch.randn(2, 3, 32, 32))


def test_of_several_blocks_the_one_that_loses_the_gradient_is_named():
    def aside_then_behind(x):
        with torch.no_grad():
            shift = torch.arange(1.0)
        return behind(x + shift)

    line = behind.__code__.co_firstlineno + 1
    with pytest.raises(ValueError, match=rf"test_grad_modes\.py:{line} \(torch\.no_grad\)"):
        mc.explain_score(Lost(aside_then_behind), "late", torch.randn(2, 3, 32, 32))
