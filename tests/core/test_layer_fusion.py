"""Maps of several layers in one: by hand, for words, phrases and classes, and lists that are refused."""

import pytest
import torch
from classifiers import small_resnet
from networks import noise_image, small_captioner

import multimodal_cam as mc
from multimodal_cam.core.layer_fusion import fuse_maps, spread_maps

LAYERS = ["layer3", "layer4"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return mc.classifier(small_resnet(), image_size=64)


@pytest.mark.parametrize(("old", "new"), [((2, 3), (4, 6)), ((3, 3), (7, 5)), ((1, 1), (4, 4)), ((4, 4), (4, 4))])
def test_a_spread_map_keeps_its_sum(old, new):
    maps = torch.randn(2, 5, *old, generator=torch.Generator().manual_seed(0))
    spread = spread_maps(maps, new)
    assert spread.shape == (2, 5, *new)
    torch.testing.assert_close(spread.sum(dim=(-2, -1)), maps.sum(dim=(-2, -1)), rtol=1e-4, atol=1e-5)


def test_mean_and_product_by_hand():
    coarse, fine = torch.tensor([[8.0]]), torch.tensor([[8.0, -1.0], [2.0, 0.0]])
    torch.testing.assert_close(fuse_maps([coarse, fine], "mean"), torch.tensor([[5.0, 0.5], [2.0, 1.0]]))
    torch.testing.assert_close(fuse_maps([coarse, fine], "product"), torch.tensor([[4.0, 0.0], [2.0, 0.0]]))


@pytest.mark.parametrize("fuse", ["mean", "product"])
@pytest.mark.parametrize("method", ["grad_cam", "layer_cam", "evidence"])
def test_layers_of_a_classifier(model, method, fuse):
    options = {"text": "class 3", "method": method}
    apart = [mc.explain(model, noise_image(), layer=one, **options) for one in LAYERS]
    e = mc.explain(model, noise_image(), layer=LAYERS, fuse=fuse, **options)
    expected = fuse_maps([one[0].map for one in apart], fuse)
    torch.testing.assert_close(e[0].map, expected, rtol=1e-3, atol=1e-5)
    assert (e.layer, e.provenance["fuse"]) == ("layer3 + layer4", fuse)
    assert e[0].map.shape == apart[0][0].map.shape != apart[1][0].map.shape


def test_words_of_a_caption_add_up_by_the_mean():
    model = small_captioner()
    e = mc.explain(model, noise_image(), text="a red dog runs", method="grad_cam", layer=["encoder.first", "encoder"])
    first = mc.explain(model, noise_image(), text="a red dog runs", method="grad_cam", layer="encoder.first")
    second = mc.explain(model, noise_image(), text="a red dog runs", method="grad_cam", layer="encoder")
    torch.testing.assert_close(e["red dog"].map, e["red"].map + e["dog"].map)
    torch.testing.assert_close(e["dog"].map, fuse_maps([first["dog"].map, second["dog"].map], "mean"))
    alone = mc.explain(model, noise_image(), text="a red dog runs", method="grad_cam", layer=["encoder"])
    assert torch.equal(alone["dog"].map, second["dog"].map)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": []}, "layer: expected a layer, or a list of one or more"),
        ({"layer": ["layer4", None]}, "expected a layer, or a list"),
        ({"layer": ["layer4", "layer4"]}, "'layer4' is listed 2 times"),
        ({"layer": ["layer4", "layer9"]}, "unknown layer 'layer9'"),
        ({"layer": LAYERS, "fuse": "max"}, "unknown fuse 'max'; choose from mean, product"),
        ({"layer": "layer4", "fuse": "mean"}, r"pass layer=\[...\], or leave fuse out"),
        ({"layer": LAYERS, "method": "guided_grad_cam"}, "guided_grad_cam has no maps of several layers"),
        ({"layer": LAYERS, "method": "grad_cam", "channels": True}, "channels: expected one layer"),
    ],
)
def test_lists_that_are_refused(model, options, words):
    with pytest.raises(ValueError, match=words):
        mc.explain(model, noise_image(), text="class 3", **options)


def test_layers_of_a_score(model):
    network, pixels = small_resnet(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    each = [mc.explain_score(network, one, pixels, method="layer_cam") for one in LAYERS]
    found = mc.explain_score(network, LAYERS, pixels, method="layer_cam", fuse="product")
    torch.testing.assert_close(found, fuse_maps(each, "product"))
    regions = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.Linear(5, 5))
    with pytest.raises(ValueError, match=r"expected layers with one grid \(h, w\) for each of the scores \(2,\)"):
        mc.explain_score(
            lambda x: regions(x).square().sum(dim=(1, 2)), list(regions), torch.randn(2, 9, 5), layout="regions"
        )  # fmt: skip
