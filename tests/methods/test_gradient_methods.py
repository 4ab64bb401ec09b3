"""Methods of the layer beyond Grad-CAM's formulas, against their papers by hand and against other libraries."""

import numpy as np
import pytest
import torch
from classifiers import small_resnet
from networks import noise_image, small_captioner

import multimodal_cam as mc
from multimodal_cam.methods import METHODS, gradient

PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return small_resnet().eval()


def test_eigen_cam_by_hand():
    # Cells lie on the line (1, 1) through (3, 3): the projection of the centred cells, of either channel times the root of 2.
    channel = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    found = gradient.eigen_cam(torch.stack([channel, channel])[None], torch.zeros(1, 2, 2, 2))
    torch.testing.assert_close(found, (channel - 3)[None] * 2**0.5)
    assert gradient.eigen_cam(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)).eq(0).all()


def test_eigen_cam_is_pytorch_grad_cams_up_to_its_arbitrary_sign(network):
    projection = pytest.importorskip("pytorch_grad_cam.utils.svd_on_activations").get_2d_projection
    found = mc.explain_score(network, network.layer3, PIXELS, method="EigenCAM")
    kept = []
    with torch.no_grad(), network.layer3.register_forward_hook(lambda _m, _i, out: kept.append(out)):
        network(PIXELS)
    expected = torch.from_numpy(np.asarray(projection(kept[0].numpy()))).float()
    for score in range(7):  # one map for all scores
        for ours, theirs in zip(found[:, score], expected, strict=True):
            torch.testing.assert_close(ours * (ours * theirs).sum().sign(), theirs, rtol=1e-3, atol=1e-5)


def test_eigen_cam_needs_no_gradient_and_is_one_map_for_all_words():
    model = small_captioner()
    e = mc.explain(model, noise_image(), text="a red dog runs", method="eigen_cam")
    assert METHODS["eigen_cam"].kind == "activations"
    assert e["dog"].map.abs().max() > 0
    for words in (e["red"], e["runs"], e["a"]):
        torch.testing.assert_close(words.map, e["dog"].map)
    detached = mc.explain_score(
        lambda x: model.encoder(x).detach().mean(dim=(1, 2, 3)), model.encoder, model.preprocess([noise_image()]).pixels,
        method="eigen_cam",
    )  # fmt: skip
    torch.testing.assert_close(detached, e["dog"].map[None])


def test_eigen_cam_of_a_layer_that_scores_do_not_read_is_refused(network):
    with pytest.raises(ValueError, match="the scores do not depend on the layer"):
        mc.explain_score(lambda x: (network(x) * 0).sum(dim=1), network.layer3, PIXELS, method="eigen_cam")
