"""RISE, Score-CAM, Ablation-CAM and KernelSHAP against other libraries, loops, and what was worked out by hand."""

from itertools import permutations

import numpy as np
import pytest
import torch
from networks import noise_image, quadrant_image, small_captioner
from networks import planted_captioner as captioner_of_quadrants
from test_occlusion import canvas
from torch import nn

import multimodal_cam as mc
from multimodal_cam.methods import METHODS

PERTURBING = [name for name, spec in mc.METHODS.items() if spec.kind == "perturbation"]
TEXT = "a red dog"


def found(method, values, score, **options):
    spec = METHODS[method]
    return spec.perturb(canvas(values, score), spec.read_options(options))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(96, 5)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_shapley_values_are_those_of_all_orders():
    values = torch.tensor([[[[1.0, 2, -1], [3, 0.5, 2]]]])

    def score(x):
        flat = x.flatten(1)
        return flat[:, 0] * flat[:, 1] + flat[:, 3].relu() * flat[:, 5] + flat.sum(dim=1).tanh()

    maps = found("kernel_shap", values, score, cells=(2, 3))
    expected = torch.zeros(6)
    orders = list(permutations(range(6)))
    for order in orders:
        x = torch.zeros(1, 1, 2, 3)
        for cell in order:
            before = score(x)
            x.view(-1)[cell] = values.view(-1)[cell]
            expected[cell] += (score(x) - before)[0] / len(orders)
    torch.testing.assert_close(maps[0, 0].flatten(), expected, rtol=1e-4, atol=1e-4)


def test_drawn_coalitions_add_up_and_give_additive_scores_exactly():
    values = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    maps = found("kernel_shap", values, lambda x: x.sum(dim=(1, 2, 3)), cells=(6, 6), samples=200, seed=3)
    torch.testing.assert_close(maps[0], values[:, 0], rtol=1e-4, atol=1e-4)
    again = found("kernel_shap", values, lambda x: x.sum(dim=(1, 2, 3)).tanh(), cells=6, samples=200, seed=3)
    torch.testing.assert_close(
        again, found("kernel_shap", values, lambda x: x.sum(dim=(1, 2, 3)).tanh(), cells=6, samples=200, seed=3)
    )
    torch.testing.assert_close(again.sum(dim=(2, 3))[0], values.sum(dim=(1, 2, 3)).tanh(), rtol=1e-4, atol=1e-4)


def test_rise_is_the_mean_score_where_a_place_is_seen():
    values = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    seen, scores = [], []

    def score(x):
        seen.extend(x / values)  # what stays of each place
        scores.extend(found := x.sum(dim=(1, 2, 3)).tanh())
        return torch.stack(list(found))

    maps = found("rise", values, score, cells=3, samples=40, seed=1)
    masks, numbers = torch.stack(seen[1:])[:, 0], torch.stack(scores[1:])  # the first is the photo
    expected = (numbers[:, None, None] * masks).sum(dim=0) / masks.sum(dim=0) - numbers.mean()
    torch.testing.assert_close(maps[0, 0], expected, rtol=1e-4, atol=1e-5)
    assert 0.4 < float(masks.mean()) < 0.6
    other = found("rise", values, lambda x: x.sum(dim=(1, 2, 3)), cells=3, samples=40, seed=2)
    assert not torch.equal(other, found("rise", values, lambda x: x.sum(dim=(1, 2, 3)), cells=3, samples=40, seed=1))


def test_score_cam_is_torchcams(network, pixels):
    from torchcam.methods import ScoreCAM

    maps = mc.explain_score(network, network[2], pixels, method="score_cam", fill=0)[0]
    for k in range(5):
        with ScoreCAM(network, target_layer=network[2], input_shape=(3, 16, 16)) as cam:
            with torch.no_grad():
                network(pixels)
            (expected,) = cam(k, normalized=False)
        torch.testing.assert_close(maps[k].relu(), expected[0], rtol=1e-4, atol=1e-5)


def test_ablation_cam_is_pytorch_grad_cams_up_to_its_scale(network, pixels):
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    maps = mc.explain_score(network, network[1], pixels, method="ablation_cam")[0]
    with torch.no_grad():
        scores = network(pixels)[0]
    k = int(scores.argmax())  # a positive score, which theirs is divided by
    assert scores[k] > 0
    with AblationCAM(model=network, target_layers=[network[1]], batch_size=4) as cam:
        theirs = cam(input_tensor=pixels, targets=[ClassifierOutputTarget(k)])[0]
    ours = maps[k].relu()
    ours = (ours - ours.min()) / (ours.max() - ours.min())
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


@pytest.mark.parametrize("method", PERTURBING)
@pytest.mark.parametrize("where", ["pixels", "layer"])
def test_planted_evidence_is_found(method, where):
    options = {"method": method, "score": "logit"} | ({"where": where} if method != "ablation_cam" else {})
    options |= {"cells": 4, "samples": 300} if method in ("rise", "kernel_shap") else {}
    e = mc.explain(captioner_of_quadrants(), quadrant_image(), text="red green blue white", **options)
    for i, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        heat = e.map(e.words[i]).clamp(min=0)
        halves = nn.functional.adaptive_avg_pool2d(heat[None], 2)[0]
        assert halves[row, column] == halves.max() > 0


@pytest.mark.parametrize("method", [name for name in PERTURBING if name != "occlusion"])
def test_rows_of_a_batch_do_not_mix_and_alternatives_are_words(method):
    model, images = small_captioner(), [noise_image(0), noise_image(1)]
    options = {"method": method} | ({"cells": 3, "samples": 40} if method in ("rise", "kernel_shap") else {})
    together = mc.explain(model, images, text=[TEXT, "a ball"], **options)
    alone = mc.explain(model, images[1], text="a ball", **options)
    torch.testing.assert_close(together[1].maps, alone.maps, rtol=1e-3, atol=1e-5)
    if mc.METHODS[method].linear:
        torch.testing.assert_close(alone.whole().map, alone.maps.sum(dim=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("rise", {"samples": 0}, "samples: expected a whole number, 2 or more, got 0"),
        ("rise", {"cells": 40}, "cells: expected at most 32 x 32 pixels of the network's input, got 40 x 40"),
        ("rise", {"seed": -1}, "seed: expected a whole number, 0 or more, got -1"),
        ("kernel_shap", {"samples": 50}, "samples: expected 98 or more for 49 cells, got 50"),
        ("kernel_shap", {"where": "layer"}, "cells: expected at most 4 x 4 cells of layer 'encoder', got 7 x 7"),
        ("score_cam", {"fill": "red"}, "fill: expected baseline, mean, blur or a finite number, got 'red'"),
    ],
)
def test_bad_options_are_one_line(method, options, message):
    with pytest.raises(ValueError, match=message):
        mc.explain(small_captioner(), noise_image(), text=TEXT, method=method, **options)
