"""Encoders and classifiers whose layers give anything: the maps of their channels-first twins, and words for what is none."""

import pytest
import timm
import torch
from networks import COLOURS, SIDE, ColourEncoder, QuadrantDecoder, QuadrantReader, noise_image, quadrant_image, to_tensor
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

import multimodal_cam as mc


def tokens(grid):
    return grid.flatten(2).transpose(1, 2)


def cls_in_front(grid):
    return torch.cat([tokens(grid).mean(dim=1, keepdim=True), tokens(grid)], dim=1)


def grid_of(cells):
    return cells.transpose(1, 2).unflatten(2, (4, 4))


# name -> (what the encoder gives of its grid, what the head makes a grid of again)
FORMS = {
    "bhwc": (lambda grid: grid.permute(0, 2, 3, 1), lambda out: out.permute(0, 3, 1, 2)),
    "bcwh": (lambda grid: grid.transpose(2, 3), lambda out: out.transpose(2, 3)),
    "bnc": (tokens, grid_of),
    "b1+nc": (cls_in_front, lambda out: grid_of(out[:, 1:])),
    "bcn": (lambda grid: grid.flatten(2), lambda out: out.unflatten(2, (4, 4))),
    "nbc": (lambda grid: grid.flatten(2).permute(2, 0, 1), lambda out: grid_of(out.transpose(0, 1))),
    "dict": (lambda grid: {"features": grid}, lambda out: out["features"]),
    "tuple": (lambda grid: (grid.permute(0, 2, 3, 1), None), lambda out: out[0].permute(0, 3, 1, 2)),
    "list": (lambda grid: [grid], lambda out: out[0]),
    "more": (lambda grid: {"grid": tokens(grid), "mean": grid.mean(dim=(2, 3))}, lambda out: grid_of(out["grid"])),
}


TWIN = (lambda grid: grid, lambda out: out)


class FormedEncoder(ColourEncoder):
    def __init__(self, form):
        super().__init__()
        self.form, self.scale = form, nn.Parameter(torch.ones(()))

    def forward(self, pixels):
        return self.form(super().forward(pixels))


class Unformed(nn.Module):
    """The head behind what makes a grid again of the encoder's output."""

    def __init__(self, back, head):
        super().__init__()
        self.back, self.head = back, head

    def forward(self, features, ids):
        return self.head(self.back(features), ids)


def captioner(name, **options):
    form, back = FORMS.get(name, TWIN)
    return mc.captioner(
        encoder=FormedEncoder(form),
        decoder=Unformed(back, QuadrantDecoder()),
        tokenizer=list(COLOURS),
        preprocess=to_tensor,
        **options,
    )


@pytest.mark.parametrize("method", ["grad_cam", "evidence", "layer_cam"])
@pytest.mark.parametrize("name", FORMS)
def test_a_captioners_maps_are_those_of_its_twin(name, method):
    images = [quadrant_image(), noise_image()]
    options = {"text": "red green blue white", "method": method}
    expected, found = (mc.explain(captioner(one), images, **options) for one in ("twin", name))
    for twin, e in zip(expected, found, strict=True):
        for word in COLOURS:
            torch.testing.assert_close(e[word].map, twin[word].map, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(e.reliance, twin.reliance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_a_vqa_networks_maps_are_those_of_its_twin_for_several_questions(name):
    def explained(one):
        form, back = FORMS.get(one, TWIN)
        reader = QuadrantReader()
        model = mc.vqa(
            encoder=FormedEncoder(form),
            head=Unformed(back, reader),
            answers=list(COLOURS),
            tokenizer=["<unk>", "what", "colour", "is", "top", "bottom", "left", "right"],
            unk=0,
            question_layer=reader.embedding,
            preprocess=to_tensor,
        )
        return mc.explain(model, quadrant_image(), question=["top left", "bottom right"], method="evidence")

    for twin, e in zip(explained("twin"), explained(name), strict=True):
        assert e.text == twin.text
        torch.testing.assert_close(e.maps, twin.maps, rtol=1e-4, atol=1e-6)


def test_a_layout_said_by_hand_is_taken():
    e = mc.explain(captioner("bhwc", layout="channels_last"), quadrant_image(), text="red")
    torch.testing.assert_close(e.maps, mc.explain(captioner("twin"), quadrant_image(), text="red").maps)
    wrong = mc.explain(captioner("bcwh", layout="bchw"), quadrant_image(), text="green")
    torch.testing.assert_close(wrong.maps[0], mc.explain(captioner("twin"), quadrant_image(), text="green").maps[0].T)
    named = captioner("b1+nc", layout={"encoder": "b1+nc"})
    torch.testing.assert_close(mc.explain(named, quadrant_image(), text="red").maps, e.maps)
    with pytest.raises(
        ValueError, match=r"layer 'encoder' gives shape \(1, 4, 4, 4\), expected \(b, n, c\) once, as layout= says"
    ):
        mc.explain(captioner("bhwc", layout="tokens"), quadrant_image(), text="red")
    with pytest.raises(ValueError, match="unknown layout 'bhwx'"):
        captioner("bhwc", layout="bhwx")


def test_frames_have_no_place_on_a_photo():
    with pytest.raises(ValueError, match="frames have no place on one photo.*explain_score"):
        captioner("twin", layout="bcthw")


def test_encoders_of_other_libraries():
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pixels):
            return self.network.forward_features(pixels)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(64, 4)

        def forward(self, features, ids):
            return self.out(features[:, 1:].mean(dim=1))[:, None].expand(-1, ids.shape[1], -1)

    model = mc.captioner(encoder=Encoder(), decoder=Decoder(), tokenizer=list(COLOURS), image_size=160)
    e = mc.explain(model, noise_image(), text="red", method="evidence")
    assert e.maps.shape == (1, 10, 10)
    passed = {check.name: check.passed for check in mc.check(model, noise_image(), text="red")}
    assert passed["the head is the rest of the network"]
    assert passed["slopes are finite differences"]
    assert passed["two photos at once are each alone"]


# ---- transformers, by autograd by hand --------------------------------------------------------------------------------------


def by_hand(network, pixels, layer, target, cells):
    """Grad-CAM at `layer` by plain hooks: `cells` makes (1, c, h, w) of what it gives."""
    kept = []
    handle = layer.register_forward_hook(lambda module, args, output: kept.append(output.requires_grad_()) or None)
    logits = network(pixels)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, target], kept[0])
    return (cells(gradient).mean(dim=(2, 3), keepdim=True) * cells(kept[0])).sum(dim=1)[0].detach()


def square(output, front):
    n = output.shape[1] - front
    side = round(n**0.5)
    return output[:, front:].transpose(1, 2).unflatten(2, (side, side))


def small_swin():
    return SwinTransformer([4, 4], 8, [1, 1, 1, 1], [1, 2, 2, 2], [4, 4], num_classes=5)


TRANSFORMERS = {
    "timm vit": (lambda: timm.create_model("test_vit", num_classes=5), 160, "blocks.5.norm1", lambda out: square(out, 1)),
    "timm mean vit": (
        lambda: timm.create_model("test_vit", num_classes=5, global_pool="avg"),
        160,
        "blocks",
        lambda out: square(out, 1),
    ),
    "registers": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, depth=2, embed_dim=48, reg_tokens=4),
        224,
        "blocks.1.norm1",
        lambda out: square(out, 5),
    ),
    "deit": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", num_classes=5, depth=2, embed_dim=48),
        224,
        "blocks.1.norm1",
        lambda out: square(out, 2),
    ),
    "timm swin": (
        lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", num_classes=5, depths=(1, 1, 1, 1), embed_dim=12, num_heads=(1, 1, 2, 2)
        ),
        224,
        "norm",
        lambda out: out.permute(0, 3, 1, 2),
    ),
    "torchvision swin": (small_swin, 128, "permute", lambda out: out),
    "torchvision vit": (
        lambda: VisionTransformer(64, 8, 2, 2, 32, 64, num_classes=5),
        64,
        "encoder.layers.encoder_layer_1.ln_1",
        lambda out: square(out, 1),
    ),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformers_default_layer_and_its_map(name):
    make, side, layer, cells = TRANSFORMERS[name]
    torch.manual_seed(0)
    network = make().eval()
    nn.init.normal_(list(network.modules())[-1].weight) if hasattr(list(network.modules())[-1], "weight") else None
    model = mc.classifier(network, image_size=side)
    e = mc.explain(model, noise_image(), text="class 3")
    assert e.layer == layer
    pixels = model.preprocess([noise_image()]).pixels
    expected = by_hand(network, pixels, network.get_submodule(layer), 3, cells)
    torch.testing.assert_close(e.maps[0], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert expected.abs().max() > 0


def test_channels_last_layers_and_evidence():
    torch.manual_seed(0)
    network = small_swin().eval()
    e = mc.explain(mc.classifier(network, image_size=128, layer="norm"), noise_image(), text="class 1", method="evidence")
    assert e.maps.shape == (1, 4, 4)
    assert e.completeness.abs().max() < 0.02 * e.maps.abs().sum()


# ---- what is refused, with layers that work ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return mc.classifier(timm.create_model("test_vit", num_classes=5), image_size=160)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("norm", r"behind layer 'norm' no token that lies on the photo is read \(only CLS, or none\): choose 'blocks.5.norm1', "),
        ("head", r"layer 'head' gives shape \(1, 5\), expected a grid .* choose 'blocks.5.norm1', .* by layout= "),
    ],
)
def test_layers_that_are_suggested_work(vit, layer, message):
    with pytest.raises(ValueError, match=message) as caught:
        mc.explain(vit, noise_image(), layer=layer)
    names = [part.strip("' ") for part in str(caught.value).split("choose ")[1].split(", or say")[0].split(", ")]
    for name in names:
        assert mc.explain(vit, noise_image(), layer=name).maps.any()


class Attends(nn.Module):
    """A CNN with a module that gives an attention matrix, and one that gives a pyramid."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cnn = nn.Conv2d(3, 4, 8, stride=8)
        self.attention, self.pyramid, self.out = nn.Softmax(dim=-1), Pyramid(), nn.Linear(4, 3)

    def forward(self, pixels):
        cells = tokens(self.cnn(pixels))
        matrix = self.attention(4 * cells[:, None] @ cells[:, None].transpose(2, 3))
        large, small = self.pyramid((matrix[:, 0] @ cells + cells).transpose(1, 2).unflatten(2, (8, 8)))
        return self.out(large.mean(dim=(2, 3)) + small.mean(dim=(2, 3)))


class Pyramid(nn.Module):
    def forward(self, grid):
        return grid.tanh(), nn.functional.avg_pool2d(grid, 2)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("attention", r"gives shape \(1, 1, 64, 64\), expected a grid .* choose 'cnn'"),
        ("pyramid", r"gives tuple of \(1, 4, 8, 8\) and \(1, 4, 4, 4\), 2 grids: expected one: choose 'cnn'"),
    ],
)
def test_an_attention_matrix_and_a_pyramid_are_no_grid(layer, message):
    model = mc.classifier(Attends(), image_size=64)
    assert mc.explain(model, noise_image()).layer == "cnn"
    with pytest.raises(ValueError, match=message):
        mc.explain(model, noise_image(), layer=layer)


# ---- a ReLU that is a function ------------------------------------------------------------------------------------------------


class FunctionalReLU(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.out = nn.Conv2d(3, 6, 3, stride=8, padding=1), nn.Linear(6, 4)

    def forward(self, pixels):
        return self.out(torch.relu(self.conv(pixels)).mean(dim=(2, 3)))


def test_a_relu_behind_the_default_layer_is_said(caplog):
    model = mc.classifier(FunctionalReLU(), image_size=64)
    assert "a ReLU that is a function, no module, follows the default layer 'conv'" in caplog.text
    assert mc.explain(model, noise_image()).provenance["layer_note"] == "before a ReLU that is no module"
    caplog.clear()
    mc.classifier(nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), image_size=64)
    assert not caplog.text


def test_side_is_what_the_forms_assume():
    assert SIDE // 8 == 4
