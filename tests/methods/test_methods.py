"""Every method on a 2 x 2 layer with two channels, worked out by hand."""

import pytest
import torch

from multimodal_cam.methods import METHODS as SPECS
from multimodal_cam.methods import find_method
from multimodal_cam.methods import path as evidence

METHODS = {name: spec.maps for name, spec in SPECS.items() if spec.kind == "gradient"}

A = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[2.0, 0.0], [0.0, 2.0]]]])
G = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]], [[-2.0, 2.0], [0.0, 4.0]]]])

EXPECTED = {
    # weights: means 1 and 1
    "grad_cam": [[3.0, 2.0], [3.0, 6.0]],
    # weights: 10 / 10 = 1 and (-4 + 0 + 0 + 8) / 4 = 1
    "xgrad_cam": [[3.0, 2.0], [3.0, 6.0]],
    # cell by cell A G
    "hires_cam": [[1.0 - 4.0, 2.0], [3.0, 4.0 + 8.0]],
    "layer_cam": [[1.0, 2.0], [3.0, 12.0]],
    # channel 0: alpha = 1 / (2 + 10) each, w = 4 / 12. channel 1: sum A = 4, alpha G+ = (4 / (8 + 32)) 2 + (16 / (32 + 256)) 4
    "grad_cam_pp": [
        [1 / 3 * 1 + (0.2 + 2 / 9) * 2, 1 / 3 * 2],
        [1 / 3 * 3, 1 / 3 * 4 + (0.2 + 2 / 9) * 2],
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_by_hand(name):
    torch.testing.assert_close(METHODS[name](A, G), torch.tensor([EXPECTED[name]]))


def test_eigen_grad_cam_by_hand():
    # One channel holds everything: the principal component is that channel, the projection its centred A G.
    activations = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[5.0, 5.0], [5.0, 5.0]]]])
    gradients = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    expected = torch.tensor([[[1.0 - 3, 2.0 - 3], [3.0 - 3, 6.0 - 3]]])
    torch.testing.assert_close(METHODS["eigen_grad_cam"](activations, gradients), expected)


def test_evidence_by_hand():
    baseline = torch.ones(1, 2, 1, 1)
    maps = evidence.integrated_gradients(A, baseline, G[None])
    torch.testing.assert_close(maps, torch.tensor([[[[0.0 - 2, 1.0 - 2], [2.0 - 0, 3.0 + 4]]]]))


@pytest.mark.parametrize("name", METHODS)
def test_linear_is_what_it_says(name):
    torch.manual_seed(0)
    activations, first, second = torch.rand(1, 5, 3, 4), torch.randn(1, 5, 3, 4), torch.randn(1, 5, 3, 4)
    method = METHODS[name]
    apart, together = method(activations, first) + method(activations, second), method(activations, first + second)
    assert torch.allclose(apart, together, atol=1e-5) == SPECS[name].linear


@pytest.mark.parametrize("name", METHODS)
def test_tiny_gradients_of_confident_words_keep_their_map(name):
    torch.manual_seed(0)
    activations, gradients = torch.rand(1, 5, 3, 4), torch.randn(1, 5, 3, 4)
    large, small = METHODS[name](activations, gradients), METHODS[name](activations, gradients * 1e-9)
    if name == "grad_cam_pp":  # not homogeneous: its alphas hold gradients in third power
        assert small.abs().max() > 0
    else:
        torch.testing.assert_close(small * 1e9, large, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_in_nothing_out(name):
    zeros = torch.zeros(2, 3, 4, 4)
    assert METHODS[name](zeros, zeros).eq(0).all()
    assert METHODS[name](torch.rand(2, 3, 4, 4), zeros).isfinite().all()


def test_aliases_and_functions_of_the_users():
    assert find_method("integrated_gradients") is SPECS["evidence"]
    own = find_method(lambda activations, gradients: gradients.sum(dim=1))
    assert (own.kind, own.linear, own.name) == ("gradient", False, "<lambda>")
    torch.testing.assert_close(own.maps(A, G), G.sum(dim=1))
    with pytest.raises(ValueError, match="unknown method 'nonsense'; choose from eigen_grad_cam, grad_cam"):
        find_method("nonsense", ["gradient"])
    with pytest.raises(TypeError, match="attention is not computed from gradients"):
        SPECS["attention"].maps(A, G)


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda a, g: a * g, ValueError, r"expected maps \(m, h, w\), here .*: sum over the channels"),
        (lambda a, g: (a * g).sum(), ValueError, r"got \(\)"),
        (lambda a, g: (a * g).sum(dim=1)[:, :1], ValueError, "expected maps"),
        (lambda a, g: (a * g).sum(dim=1) * float("nan"), ValueError, "expected finite numbers, got NaN"),
        (lambda a, g: (a * g).sum(dim=1) / 0.0, ValueError, "expected finite numbers"),
        (lambda a, g: None, TypeError, "expected a tensor of maps"),
        (lambda a, g: (a * g).sum(dim=1).tolist(), TypeError, "got list"),
    ],
)
def test_a_function_of_the_users_gives_finite_maps(function, error, words):
    activations = torch.rand(2, 3, 4, 5)
    with pytest.raises(error, match=f"method <lambda>: .*{words}|method <lambda>: {words}"):
        find_method(function).maps(activations, torch.rand_like(activations))
