"""Methods of the layer beyond Grad-CAM's formulas, against their papers by hand and against other libraries."""

import numpy as np
import pytest
import torch
from classifiers import small_resnet
from networks import noise_image, small_captioner
from torch import nn

import multimodal_cam as mc
from multimodal_cam.methods import METHODS, gradient
from multimodal_cam.methods.pixels import noisy_copies

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


class PooledNet(nn.Module):
    """Average pooling, then a head whose slope is another one for each copy of the photo."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cnn, self.out = nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU()), nn.Linear(6, 4)

    def forward(self, pixels):
        return self.out(self.cnn(pixels).mean(dim=(2, 3)).tanh())


def by_paper(network, pixels, score, count):
    """Smooth Grad-CAM++ in a loop over the copies."""
    gradients, activations = [], network.cnn(pixels).detach()
    for i in range(count):
        grid = network.cnn(noisy_copies(pixels, i, i + 1)[0]).detach().requires_grad_()
        gradients += torch.autograd.grad(network.out(grid.mean(dim=(2, 3)).tanh())[:, score].sum(), grid)
    first, second, third = (sum(one**p for one in gradients) / count for p in (1, 2, 3))
    alpha = second / (2 * second + activations.sum(dim=(2, 3), keepdim=True) * third)
    return ((alpha * first.relu()).sum(dim=(2, 3), keepdim=True) * activations).sum(dim=1)


def test_smooth_grad_cam_pp_is_the_papers():
    network, pixels = PooledNet(), PIXELS[..., :32, :32]
    found = mc.explain_score(network, network.cnn, pixels, method="SmoothGradCAM++", n_steps=3)
    for score in range(4):
        torch.testing.assert_close(found[:, score], by_paper(network, pixels, score, 3), rtol=1e-4, atol=1e-6)
    model = mc.classifier(network, layer="cnn", image_size=32)
    e = mc.explain(model, noise_image(), text="class 2", method="smooth_grad_cam_pp", n_steps=2, score="logit")
    expected = by_paper(network, model.preprocess([noise_image()]).pixels, 2, 2)
    torch.testing.assert_close(e.maps, expected, rtol=1e-4, atol=1e-6)


def test_smooth_grad_cam_pp_weighs_as_torchcam_with_the_same_noise(monkeypatch):
    """One copy: torchcam takes the gradient of the last copy alone in the place of the mean."""
    torchcam = pytest.importorskip("torchcam.methods")
    network, pixels = PooledNet().eval(), PIXELS[:1, :, :32, :32]
    found = mc.explain_score(network, network.cnn, pixels, method="smooth_grad_cam_pp", n_steps=1)
    with torchcam.SmoothGradCAMpp(network, "cnn", num_samples=1, input_shape=(3, 32, 32)) as extractor:
        noise = noisy_copies(pixels, 0, 1)[0] - pixels
        monkeypatch.setattr(extractor._distrib, "sample", lambda _size: noise)
        network(pixels)
        (weights,) = extractor._get_weights(2)
    activations = network.cnn(pixels).detach()
    torch.testing.assert_close(found[:, 2], torch.einsum("bc,bchw->bhw", weights, activations), rtol=1e-3, atol=1e-5)


def test_smooth_grad_cam_pp_of_words_is_the_same_in_a_batch():
    model, text = small_captioner(), "a red dog runs"
    alone = mc.explain(model, noise_image(), text=text, method="smooth_grad_cam_pp", n_steps=2)
    batch = mc.explain(model, [noise_image(), noise_image(3)], text=text, method="smooth_grad_cam_pp", n_steps=2)
    torch.testing.assert_close(batch[0]["dog"].map, alone["dog"].map, rtol=1e-3, atol=1e-6)
    assert alone["dog"].map.abs().max() > 0
