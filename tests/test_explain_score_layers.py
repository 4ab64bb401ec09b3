"""explain_score: layers of every layout, of several runs, of videos; inputs and layers by name; rows that hang together."""

import functools

import pytest
import torch
from torch import nn

import multimodal_cam as mc


def by_hand(score, grid):
    """Grad-CAM of a plain number at `grid` (b, c, *cells), by autograd: weights are means over the cells."""
    (gradient,) = torch.autograd.grad(score, grid, retain_graph=True)
    weights = gradient.flatten(2).mean(dim=2)
    return torch.einsum("bc,bcn->bn", weights, grid.flatten(2)).view(len(grid), *grid.shape[2:]).detach()


class Net(nn.Module):
    """A CNN, its grid as `form` gives it, and a head."""

    def __init__(self, form=None, back=None):
        super().__init__()
        torch.manual_seed(0)
        self.cnn = nn.Sequential(nn.Conv2d(3, 6, 3, stride=8, padding=1), nn.Tanh())
        self.formed, self.back, self.out = Form(form), back or (lambda out: out), nn.Linear(6, 4)

    def forward(self, pixels):
        return self.head(self.back(self.formed(self.cnn(pixels))))

    def head(self, grid):
        return self.out((grid * grid.abs()).mean(dim=(2, 3)))


class Form(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form or (lambda grid: grid)

    def forward(self, grid):
        return self.form(grid)


FORMS = {
    "bhwc": (lambda grid: grid.permute(0, 2, 3, 1), lambda out: out.permute(0, 3, 1, 2)),
    "bnc": (lambda grid: grid.flatten(2).transpose(1, 2), lambda out: out.transpose(1, 2).unflatten(2, (8, 6))),
    "dict": (lambda grid: {"x": grid, "n": 3}, lambda out: out["x"]),
}
PIXELS = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", ["grad_cam", "layer_cam", "evidence"])
@pytest.mark.parametrize("name", FORMS)
def test_layers_of_every_layout(name, method):
    plain, formed = Net(), Net(*FORMS[name])
    options = {"method": method, "baseline": torch.zeros_like(PIXELS) if method == "evidence" else None}
    expected = mc.explain_score(plain, plain.cnn, PIXELS, **options)
    assert expected.shape == (2, 4, 8, 6)
    torch.testing.assert_close(mc.explain_score(formed, formed.formed, PIXELS, **options), expected, rtol=1e-4, atol=1e-6)


def test_a_layer_by_its_name_wherever_the_network_is():
    net = Net()
    expected = mc.explain_score(net, net.cnn, PIXELS)
    second = functools.partial(lambda network, pixels: network(pixels), net)
    for fn, name in (
        (net, "cnn"),
        (lambda x: net(x), "cnn"),
        (lambda x: net(x), "net.cnn"),
        (net.forward, "cnn"),
        (second, "cnn"),
    ):
        assert torch.equal(mc.explain_score(fn, name, PIXELS), expected)
    with pytest.raises(ValueError, match="unknown layer 'cnnn'; the network that fn runs has cnn, cnn.0, cnn.1"):
        mc.explain_score(net, "cnnn", PIXELS)


def test_inputs_by_name_in_a_dict_in_a_list_or_a_tuple():
    net = Net()
    expected = mc.explain_score(net, "cnn", PIXELS)
    assert torch.equal(
        mc.explain_score(lambda pixels, scale: net(pixels) * scale, net.cnn, {"pixels": PIXELS, "scale": 1}), expected
    )
    for fn in (lambda batch: net(batch["image"]), lambda *batch: net(batch[0]["image"])):
        assert torch.equal(mc.explain_score(fn, net.cnn, [{"image": PIXELS}]), expected)
    assert torch.equal(mc.explain_score(lambda batch: net(batch["image"]), net.cnn, {"image": PIXELS}), expected)
    assert torch.equal(mc.explain_score(lambda x, y: net(x) + y, net.cnn, (PIXELS, 0.0)), expected)


# ---- layers that run several times ------------------------------------------------------------------------------------------


def similarity(net, first, second):
    return torch.cosine_similarity(net(first), net(second))


def test_a_siamese_network_has_a_map_for_each_image():
    net, other = Net(), PIXELS.flip(0) + 0.1
    grids = [net.cnn(one).detach().requires_grad_() for one in (PIXELS, other)]
    score = torch.cosine_similarity(*(net.head(grid) for grid in grids)).sum()
    inputs = (PIXELS, other)
    fn = functools.partial(similarity, net)
    for call, grid in enumerate(grids):
        torch.testing.assert_close(mc.explain_score(fn, net.cnn, inputs, call=call), by_hand(score, grid), rtol=1e-4, atol=1e-7)
    both = mc.explain_score(fn, net.cnn, inputs, call="all")
    assert both.shape == (2, 2, 8, 6)
    torch.testing.assert_close(both[1], by_hand(score, grids[1]), rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match='ran 2 times in one forward pass: say which .* call=0 to call=1, or call="all"'):
        mc.explain_score(fn, net.cnn, inputs)
    with pytest.raises(ValueError, match="call: expected 0 to 1, since layer .* ran 2 times, got 2"):
        mc.explain_score(fn, net.cnn, inputs, call=2)
    with pytest.raises(TypeError, match='call: expected the number of a run, from 0, or "all", got .both.'):
        mc.explain_score(fn, net.cnn, inputs, call="both")


def test_evidence_of_one_of_two_images_adds_up():
    net, other = Net(), PIXELS.flip(0) + 0.1
    fn, blank = functools.partial(similarity, net), torch.zeros_like(PIXELS)
    maps = mc.explain_score(fn, net.cnn, (PIXELS, other), call=0, method="evidence", baseline=(blank, other), n_steps=64)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), (fn(PIXELS, other) - fn(blank, other)).detach(), rtol=1e-2, atol=1e-3)


# ---- frames -----------------------------------------------------------------------------------------------------------------


class Clips(Net):
    """A 2-D CNN over frames (b, t, 3, H, W), and an LSTM over them."""

    def __init__(self, time_first=False):
        super().__init__()
        self.lstm, self.time_first = nn.LSTM(4, 4, batch_first=True), time_first

    def forward(self, clips):
        b, t = clips.shape[:2]
        frames = clips.transpose(0, 1).flatten(0, 1) if self.time_first else clips.flatten(0, 1)
        features = super().forward(frames)
        features = features.unflatten(0, (t, b)).transpose(0, 1) if self.time_first else features.unflatten(0, (b, t))
        return self.lstm(features)[0][:, -1]


@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("b", [1, 3])
def test_frames_through_a_2d_cnn(b, time_first):
    net, clips = Clips(time_first).eval(), torch.randn(b, 5, 3, 64, 48)
    found = mc.explain_score(net, net.cnn, clips)
    assert found.shape == (b, 4, 5, 8, 6)
    for i in range(b):
        grid = net.cnn(clips[i]).detach().requires_grad_()
        score = net.lstm(net.head(grid)[None])[0][0, -1, 2]
        torch.testing.assert_close(found[i, 2], by_hand(score, grid), rtol=1e-3, atol=1e-6)


def test_rows_that_hang_together_are_noticed():
    net, frames = Net(), torch.randn(6, 3, 64, 48)

    def mean_over_frames(x):
        return net(x).mean(dim=0, keepdim=True).expand(len(x), -1)

    with pytest.raises(ValueError, match="scores of the rows hang together: .* layout='tchw'"):
        mc.explain_score(mean_over_frames, net.cnn, frames)
    grid = net.cnn(frames).detach().requires_grad_()
    expected = by_hand(net.head(grid).mean(dim=0)[1], grid)
    found = mc.explain_score(lambda x: net(x).mean(dim=0)[1], net.cnn, frames, layout="tchw")
    assert found.shape == (6, 8, 6)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match=r"got \(\); rows that are the frames of one clip are layout='tchw'"):
        mc.explain_score(lambda x: net(x).mean(), net.cnn, frames)


def test_a_3d_cnn_has_maps_over_time():
    torch.manual_seed(0)
    cnn = nn.Sequential(nn.Conv3d(3, 5, 3, stride=(1, 8, 8), padding=1), nn.ReLU())
    clips = torch.randn(2, 3, 6, 64, 48)
    found = mc.explain_score(lambda x: (cnn(x) ** 2).mean(dim=(2, 3, 4))[:, 3], cnn, clips)
    assert found.shape == (2, 6, 8, 6)
    grid = cnn(clips).detach().requires_grad_()
    torch.testing.assert_close(found, by_hand((grid**2).mean(dim=(2, 3, 4))[:, 3].sum(), grid), rtol=1e-4, atol=1e-7)


# ---- regions ----------------------------------------------------------------------------------------------------------------


def test_regions_have_a_value_each():
    torch.manual_seed(0)
    reader, features = nn.Sequential(nn.Linear(8, 5), nn.Tanh()), torch.randn(2, 36, 8)

    def fn(regions):
        return (reader(regions) ** 2).mean(dim=1)[:, 1]

    found = mc.explain_score(fn, reader, features, layout="regions")
    cells = reader(features).detach().requires_grad_()
    (gradient,) = torch.autograd.grad((cells**2).mean(dim=1)[:, 1].sum(), cells)
    expected = (gradient.mean(dim=1, keepdim=True) * cells).sum(dim=2).detach()
    assert found.shape == (2, 36)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="no input is a photo, which could be measured.*layout=.*regions"):
        mc.explain_score(fn, reader, features)
