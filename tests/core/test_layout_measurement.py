"""Layouts are measured: what each axis of an output counts, whatever it looks like."""

import math

import pytest
import timm
import torch
from torch import nn

from multimodal_cam.core.layer_layout import AxesView, LayerLayout, parse_layout
from multimodal_cam.core.layout_measurement import measure_layers


class Grid(nn.Module):
    """A small CNN whose last module gives its grid in a form of its own."""

    def __init__(self, form, channels=6, stride=8):
        super().__init__()
        torch.manual_seed(0)
        self.cnn = nn.Sequential(nn.Conv2d(3, channels, 3, stride=stride, padding=1), nn.ReLU())
        self.last = Form(form)

    def forward(self, pixels):
        return self.last(self.cnn(pixels))


class Form(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, grid):
        return self.form(grid)


def tokens(grid):
    return grid.flatten(2).transpose(1, 2)


def with_extra(front, behind=0):
    """Tokens with `front` and `behind` more, which are means: every part of the photo reaches them."""

    def form(grid):
        mean = tokens(grid).mean(dim=1, keepdim=True)
        return torch.cat([mean.repeat(1, front, 1), tokens(grid), mean.repeat(1, behind, 1)], dim=1)

    return form


def measured(network, pixels, layer=None):
    layer = layer or network.last
    return measure_layers(network.eval(), pixels, [layer])[layer]


FORMS = {
    "bchw": (lambda grid: grid, {}),
    "bhwc": (lambda grid: grid.permute(0, 2, 3, 1), {}),
    "bcwh": (lambda grid: grid.transpose(2, 3), {}),
    "bwhc": (lambda grid: grid.permute(0, 3, 2, 1), {}),
    "bhcw": (lambda grid: grid.permute(0, 2, 1, 3), {}),
    "bnc": (tokens, {"prefix": 0}),
    "bcn": (lambda grid: grid.flatten(2), {"prefix": 0}),
    "nbc": (lambda grid: grid.flatten(2).permute(2, 0, 1), {"prefix": 0}),
    "bnc cls": (with_extra(1), {"prefix": 1}),
    "bnc registers": (with_extra(5), {"prefix": 5}),
    "bnc behind": (with_extra(0, 2), {"prefix": 0, "suffix": 2}),
    "bnc both": (with_extra(1, 4), {"prefix": 1, "suffix": 4}),
    "bnc columns": (lambda grid: grid.transpose(2, 3).flatten(2).transpose(1, 2), {"by_columns": True}),
}


def test_a_grid_that_is_upside_down_or_mirrored_is_put_upright():
    for form, mirrored in ((lambda grid: grid.flip(2), "h"), (lambda grid: grid.flip(2, 3), "hw")):
        network, pixels = Grid(form), torch.randn(1, 3, 64, 48)
        (layout,) = measured(network, pixels).layouts
        assert layout.mirrored == mirrored
        view = AxesView(layout, (64, 48))
        torch.testing.assert_close(view.cells(view.extract(network(pixels))), network.cnn(pixels))


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (96, 64)])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_grid_is_found_and_becomes_the_grid(name, size):
    form, expected = FORMS[name]
    network, pixels = Grid(form), torch.randn(1, 3, *size)
    (layout,) = measured(network, pixels).layouts
    assert layout.axes == name.split()[0]
    for key, value in expected.items():
        assert getattr(layout, key) == value
    view = AxesView(layout, size)
    torch.testing.assert_close(view.cells(view.extract(network(pixels))), network.cnn(pixels))
    assert torch.equal(view.inject(view.extract(network(pixels)), network(pixels)), network(pixels))
    extra = view.unplaced(view.extract(network(pixels)))
    assert (extra is None) == (not expected.get("prefix") and not expected.get("suffix"))
    if extra is not None:
        assert extra.shape[1] == expected["prefix"] + expected.get("suffix", 0)


@pytest.mark.parametrize("name", ["bnc cls", "bnc both", "bcn", "bhwc"])
def test_what_was_measured_at_one_size_reads_another(name):
    form, _ = FORMS[name]
    network, other = Grid(form), torch.randn(1, 3, 64, 128)
    (layout,) = measured(network, torch.randn(1, 3, 64, 64)).layouts
    view = AxesView(layout, (64, 128))
    torch.testing.assert_close(view.cells(view.extract(network(other))), network.cnn(other))


@pytest.mark.parametrize("channels", [1, 2, 8, 64])
def test_few_channels_and_as_many_as_cells(channels):
    for form, axes in ((FORMS["bchw"][0], "bchw"), (FORMS["bhwc"][0], "bhwc"), (tokens, "bnc")):
        (layout,) = measured(Grid(form, channels), torch.randn(1, 3, 64, 64)).layouts
        assert layout.axes == axes


def attention(grid):
    """An attention matrix (b, heads, n, n): each token most to itself."""
    own = tokens(grid)
    scores = own @ own.transpose(1, 2) / math.sqrt(own.shape[-1]) + 3 * torch.eye(own.shape[1])
    return torch.stack([scores, 2 * scores], dim=1).softmax(dim=-1)


NO_GRIDS = {
    "attention": attention,
    "one head": lambda grid: attention(grid)[:, :1],
    "a vector": lambda grid: grid.mean(dim=(2, 3)),
    "one cell": lambda grid: grid.mean(dim=(2, 3), keepdim=True),
    "heads": lambda grid: tokens(grid).unflatten(2, (2, 3)).transpose(1, 2),
    "two vectors": lambda grid: (grid.mean(dim=(2, 3)), grid.amax(dim=(2, 3))),
    "text": lambda grid: grid.mean(dim=(2, 3))[:, None].repeat(1, 7, 1) * torch.arange(7.0)[:, None],
}


@pytest.mark.parametrize("name", NO_GRIDS)
def test_what_is_no_grid_is_none(name):
    assert measured(Grid(NO_GRIDS[name]), torch.randn(1, 3, 64, 64)).layouts == ()


def test_grids_in_containers_have_their_paths():
    form = FORMS["bhwc"][0]
    network = Grid(lambda grid: {"pooled": grid.mean(dim=(2, 3)), "maps": [form(grid)], "size": 4})
    found = measured(network, torch.randn(1, 3, 64, 64))
    assert [(layout.axes, layout.path) for layout in found.layouts] == [("bhwc", ("maps", 0))]
    view = AxesView(found.layouts[0], (64, 64))
    output = network(torch.randn(1, 3, 64, 64))
    injected = view.inject(torch.zeros(1, 8, 8, 6), output)
    assert not injected["maps"][0].any()
    assert injected["pooled"] is output["pooled"]
    assert output["maps"][0].any()


def test_dead_outputs_are_decided_by_their_sizes():
    dead = Grid(lambda grid: torch.zeros_like(grid))
    (layout,) = measured(dead, torch.randn(1, 3, 64, 64)).layouts
    assert layout.axes == "bchw"
    assert measured(Grid(lambda grid: torch.zeros(1, 8, 8, 8)), torch.randn(1, 3, 64, 64)).layouts == ()  # both readings fit


def test_frames_of_a_video():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(3, 5, 3, stride=(1, 8, 8), padding=1), nn.ReLU()).eval()
    found = measure_layers(network, torch.randn(1, 3, 6, 64, 48), [network[1]])[network[1]]
    assert found.layouts[0].axes == "bcthw"
    view = AxesView(found.layouts[0], (64, 48))
    assert view.cells(network(torch.randn(1, 3, 6, 64, 48))).shape == (1, 5, 6 * 8, 6)


def test_nothing_is_left_behind_and_the_layer_may_run_often():
    torch.manual_seed(0)
    shared = nn.Conv2d(3, 3, 3, stride=2, padding=1)
    network = nn.Sequential(shared, shared, shared)
    found = measure_layers(network, torch.randn(1, 3, 64, 64), [shared], call=1)[shared]
    assert found.calls == 3
    assert found.shapes == {(): (1, 3, 16, 16)}
    assert not shared._forward_hooks


VITS = {
    "cls": ("test_vit", {}, 160, (1, (10, 10))),
    "registers": ("vit_tiny_patch16_224", {"depth": 2, "reg_tokens": 4}, 224, (5, (14, 14))),
    "distilled": ("deit_tiny_distilled_patch16_224", {"depth": 2}, 224, (2, (14, 14))),
}


@pytest.mark.parametrize("name", VITS)
def test_tokens_of_timm(name):
    timm_name, options, side, expected = VITS[name]
    torch.manual_seed(0)
    network = timm.create_model(timm_name, num_classes=3, **options).eval()
    (layout,) = measured(network, torch.randn(1, 3, side, side), network.norm).layouts
    assert (layout.axes, layout.prefix, layout.grid) == ("bnc", *expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("channels_last", LayerLayout("bhwc")),
        ("b h w c", LayerLayout("bhwc")),
        ("tokens", LayerLayout("bnc")),
        ("b1+nc", LayerLayout("bnc", prefix=1)),
        ("regions", LayerLayout("brc")),
        ("nbc", LayerLayout("nbc")),
    ],
)
def test_layouts_said_by_hand(given, expected):
    assert parse_layout(given) == expected


@pytest.mark.parametrize("given", ["", "bchx", "hwc", "bchwt2", "b1+hwc", "nhwc", "last"])
def test_unknown_layouts_are_refused(given):
    with pytest.raises(ValueError, match="unknown layout .* choose from channels_first, channels_last, tokens"):
        parse_layout(given)


def test_tokens_that_are_no_grid_are_refused():
    view = AxesView(parse_layout("bnc"), (64, 64))
    assert view.cells(torch.zeros(1, 65, 3)).shape == (1, 3, 8, 8)  # CLS in front
    with pytest.raises(ValueError, match=r"shape \(1, 65\), expected \(b, n, c\)"):
        view.extract(torch.zeros(1, 65))
    with pytest.raises(ValueError, match="3 tokens, expected 1 in front of a grid of 8 x 8"):
        AxesView(LayerLayout("bnc", 1, 0, (8, 8), pixel_size=(64, 64)), (64, 64)).extract(torch.zeros(1, 3, 3))
