"""Maps of pixels against captum's, one word or class at a time, and by hand."""

import copy
import warnings
from functools import partial

import captum.attr as captum
import pytest
import torch
from captum.attr import LayerAttribution
from networks import WORDS, noise_image, quadrant_image, small_captioner, small_vqa, to_tensor
from torch import nn
from torch.nn import functional as F

import multimodal_cam as mc
from multimodal_cam.core import geometry
from multimodal_cam.core.spans import join
from multimodal_cam.methods.pixels import NOISE, noisy_copies
from multimodal_cam.study.measure.row_maps import encode, iterate_row_maps, text_rows

PIXEL_METHODS = sorted(name for name, spec in mc.METHODS.items() if spec.kind == "pixels")
PHOTO = noise_image()


class SmallCNN(nn.Module):
    """Two convolutions with ReLU modules, 5 classes; `relu` makes each of the three."""

    def __init__(self, relu=nn.ReLU):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), relu(), nn.Conv2d(8, 8, 3, stride=2), relu())
        self.hidden = nn.Sequential(nn.Linear(8 * 49, 12), relu())
        self.head = nn.Linear(12, 5)

    def forward(self, pixels):
        return self.head(self.hidden(self.features(pixels).flatten(1)))


def classifier(network=None):
    return mc.classifier((network or SmallCNN()).eval(), layer="features", preprocess=to_tensor)


def pixels_of(model, photo=PHOTO):
    return model.preprocess([photo]).pixels


def assert_equals_captum(ours, theirs):
    torch.testing.assert_close(ours, theirs.detach()[0], rtol=1e-4, atol=1e-6)


@pytest.fixture(autouse=True)
def quiet_captum():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


CAPTUM = {
    "gradient": lambda net: partial(captum.Saliency(net).attribute, abs=False),
    "gradient_x_input": lambda net: captum.InputXGradient(net).attribute,
    "guided_backprop": lambda net: captum.GuidedBackprop(net).attribute,
    "deconvnet": lambda net: captum.Deconvolution(net).attribute,
    "guided_grad_cam": lambda net: partial(captum.GuidedGradCam(net, net.features).attribute, interpolate_mode="bilinear"),
    "pixel_integrated_gradients": lambda net: partial(
        captum.IntegratedGradients(net).attribute, n_steps=7, method="riemann_middle"
    ),
}


@pytest.mark.parametrize("method", CAPTUM)
def test_equals_captum_for_every_class(method):
    model = classifier()
    e = mc.explain(model, PHOTO, text="class 1", method=method, n_steps=7)
    x = pixels_of(model)
    theirs = CAPTUM[method](model.module)
    options = {"baselines": model.baseline_inputs(model.preprocess([PHOTO])).pixels} if "integrated" in method else {}
    assert e["class 1"].pixels.shape == x.shape[1:]
    assert_equals_captum(e["class 1"].pixels, theirs(x, target=1, **options))
    for part in e.answer_parts:
        assert_equals_captum(part.pixels, theirs(x, target=int(part.text.split()[1]), **options))
        torch.testing.assert_close(part.map, part.pixels.sum(dim=0))


def test_smooth_grad_equals_captums_noise_tunnel(monkeypatch):
    model = classifier()
    x = pixels_of(model)
    deviation = NOISE * float(x.max() - x.min())
    noise = noisy_copies(x, 0, 6)[:, 0] - x
    monkeypatch.setattr(torch, "normal", lambda *_: noise)
    tunnel = captum.NoiseTunnel(captum.Saliency(model.module))
    theirs = tunnel.attribute(x, nt_samples=6, stdevs=deviation, target=2, abs=False)
    monkeypatch.undo()
    assert_equals_captum(mc.explain(model, PHOTO, text="class 2", method="smooth_grad", n_steps=6)["class 2"].pixels, theirs)
    assert noise.std() == pytest.approx(deviation, rel=0.05)


def test_deconvolution_grad_cam_is_the_product_of_its_two_parts():
    model = classifier()
    cam = captum.LayerGradCam(model.module, model.module.features).attribute(pixels_of(model), target=3, relu_attributions=True)
    theirs = captum.Deconvolution(model.module).attribute(pixels_of(model), target=3)
    theirs = theirs * LayerAttribution.interpolate(cam, (32, 32), "bilinear")
    assert_equals_captum(mc.explain(model, PHOTO, text="class 3", method="deconvolution_grad_cam")["class 3"].pixels, theirs)


class Capped(nn.ReLU):
    """ReLU6 as a module that captum takes for a ReLU."""

    def forward(self, x):
        return x.clamp(0, 6)


def with_captums_relus(network):
    """A copy of a network whose ReLU6 modules captum knows."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, part in module.named_children():
            if isinstance(part, nn.ReLU6):
                setattr(module, name, Capped())
    return network


@pytest.mark.slow
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "gradient"])
def test_efficientnet_lite0_and_its_relu6_equal_captum(method):
    model = mc.load("efficientnet_lite0")
    network = with_captums_relus(model.module).eval()
    photo = quadrant_image((96, 96))
    ours = mc.explain(model, photo, text=281, method=method).whole().pixels
    theirs = CAPTUM[method](network)(pixels_of(model, photo), target=281)[0].detach()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()))


# ---- words of a caption ------------------------------------------------------------------------------------------------------

TEXT = "a dog runs on grass"


class ReluEncoder(nn.Module):
    """Channels first grid `(b, 6, 8, 8)` with a functional ReLU, one of a tensor, a clamp and a leaky one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.convs = nn.ModuleList(nn.Conv2d(a, 6, 3, padding=1) for a in (3, 6, 6, 6))
        with torch.no_grad():
            for conv in self.convs:
                conv.weight.mul_(4)

    def forward(self, pixels):
        x = F.relu(self.convs[0](F.avg_pool2d(pixels, 4)))
        x = self.convs[1](x).relu_()
        x = self.convs[2](x).clamp(min=0)
        return F.leaky_relu(self.convs[3](x), 0.1)


def relu_captioner():
    model = small_captioner()
    return mc.captioner(
        encoder=ReluEncoder(), decoder=model.decoder, tokenizer=WORDS, bos=0, eos=1, unk=2, image_size=32, max_words=8
    )


def slow_map(model, ids, tokens, relu):
    """The map of the summed log-probabilities of some tokens: one pass through ReLUs whose gradient is written out."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, slope):
            ctx.save_for_backward(torch.where(x > 0, 1.0, slope))
            return torch.where(x > 0, x, slope * x)

        @staticmethod
        def backward(ctx, signal):
            (own,) = ctx.saved_tensors
            factor = torch.ones_like(own) if relu == "deconvnet" else own
            return factor * (signal if relu is None else signal.clamp(min=0)), None

    pixels = pixels_of(model).requires_grad_()
    x = F.avg_pool2d(pixels, 4)
    for conv, slope in zip(model.encoder.convs, (0.0, 0.0, 0.0, 0.1), strict=True):
        x = Rule.apply(conv(x), slope)
    scores = model.decoder(x, ids).log_softmax(dim=-1).gather(-1, ids[..., None])[..., 0]
    return torch.autograd.grad(scores[:, tokens].sum(), pixels)[0][0]


@pytest.mark.parametrize(("method", "relu"), [("gradient", None), ("guided_backprop", "guided"), ("deconvnet", "deconvnet")])
def test_words_phrases_and_the_text_equal_one_pass_each(method, relu):
    model = relu_captioner()
    model.module.eval()
    e = mc.explain(model, PHOTO, text=TEXT, method=method)
    ids = model.tokenize([TEXT])
    parts = [*e, *e.phrases(), e.whole()]
    assert len(parts) == 8  # five words, two phrases
    for part in parts:
        expected = slow_map(model, ids, slice(part.span.start, part.span.stop), relu)
        torch.testing.assert_close(part.pixels, expected, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(part.map, part.pixels.sum(dim=0))


@pytest.mark.parametrize("method", PIXEL_METHODS)
def test_linear_is_what_it_says(method):
    e = mc.explain(relu_captioner(), PHOTO, text=TEXT, method=method)
    adds_up = torch.allclose(e.maps.sum(dim=0), e.whole().map, rtol=1e-3, atol=1e-3 * float(e.maps.abs().max()))
    assert adds_up == mc.METHODS[method].linear


@pytest.mark.parametrize("method", PIXEL_METHODS)
def test_a_batch_gives_what_each_row_gives(method):
    model = relu_captioner()
    photos, texts = [noise_image(i) for i in range(6)], [TEXT, "dog", "a red ball", TEXT, "on grass", "a dog"]
    together = mc.explain(model, photos, text=texts, method=method, n_steps=3)
    for photo, text, e in zip(photos, texts, together, strict=True):
        alone = mc.explain(model, photo, text=text, method=method, n_steps=3)
        torch.testing.assert_close(e.maps, alone.maps, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(e.whole().pixels, alone.whole().pixels, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(e.reliance, alone.reliance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("text", [None, TEXT])
@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "guided_grad_cam"])
def test_all_words_share_one_differentiated_pass_of_the_backbone(text, method):
    model = relu_captioner()
    runs = []
    model.encoder.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    mc.explain(model, PHOTO, text=TEXT)  # measures the layer, and the photo of no content
    runs.clear()
    mc.explain(model, PHOTO, text=text, method=method)
    assert runs.count(True) == 1
    assert len(runs) == (1 if text else 2)  # one more that says the text


# ---- what is refused, and what is left behind --------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [nn.SiLU, nn.GELU, nn.ELU, nn.Hardswish])
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "guided_grad_cam", "deconvolution_grad_cam"])
def test_without_a_relu_the_rules_are_refused(method, activation):
    name = {"SiLU": "Silu", "GELU": "Gelu", "ELU": "Elu"}.get(activation.__name__, activation.__name__)
    with pytest.raises(
        ValueError, match=rf"{method} changes .* ReLUs, and there is none .*\(there are {name}\): take method gradient"
    ):
        mc.explain(classifier(SmallCNN(activation)), PHOTO, method=method)
    mc.explain(classifier(SmallCNN(activation)), PHOTO, method="gradient")


RECTIFIERS = {
    "relu6": (nn.ReLU6, lambda x: (x > 0) & (x < 6)),
    "leaky": (lambda: nn.LeakyReLU(0.2), lambda x: torch.where(x > 0, 1.0, 0.2)),
    "prelu": (nn.PReLU, lambda x: torch.where(x > 0, 1.0, 0.25)),
    "rrelu": (lambda: nn.RReLU(0.1, 0.3), lambda x: torch.where(x > 0, 1.0, 0.2)),
    "threshold": (lambda: nn.Threshold(0.0, 0.0), lambda x: x > 0),
    "hardtanh": (lambda: nn.Hardtanh(0.0, 2.0), lambda x: (x > 0) & (x < 2)),
}


@pytest.mark.parametrize("kind", RECTIFIERS)
def test_rectifiers_by_hand(kind):
    make, slope = RECTIFIERS[kind]
    unit, x = make().eval(), torch.tensor([[[[-3.0, 1.0, 5.0, 7.0, -2.0, 3.0]]]]).repeat(1, 1, 6, 1)
    signal = torch.tensor([1.0, 2.0, -1.0, 1.0, -1.0, 1.0])

    def score(pixels):
        return (unit(pixels) * signal).sum(dim=(1, 2, 3))[:, None] * torch.tensor([1.0, 0.0])

    own = torch.as_tensor(slope(x), dtype=torch.float32)
    network = Scored(score, unit)
    for method, expected in {
        "gradient": own * signal,
        "guided_backprop": own * signal.clamp(min=0),
        "deconvnet": torch.ones_like(own) * signal.clamp(min=0),
    }.items():
        model = mc.classifier(network, preprocess=lambda _: x[0], layer="identity", layout="bchw", placement=geometry.squeeze)
        found = mc.explain(model, PHOTO, text="class 0", method=method)["class 0"].pixels
        torch.testing.assert_close(found, expected[0])


class Scored(nn.Module):
    """Any function of pixels as logits of two classes."""

    def __init__(self, function, unit):
        super().__init__()
        self.identity, self.unit, self.function = nn.Identity(), unit, function

    def forward(self, pixels):
        return self.function(self.identity(pixels))


def test_a_frozen_backbone_and_a_dict_of_hooks_stay_as_they_were():
    model = relu_captioner()
    plain = mc.explain(model, PHOTO, text=TEXT, method="guided_backprop")
    own = model.encoder.forward

    def frozen(pixels):
        with torch.no_grad():
            return own(pixels)

    model.encoder.forward = frozen
    model.module.requires_grad_(False)
    again = mc.explain(model, PHOTO, text=TEXT, method="guided_backprop")
    torch.testing.assert_close(again.maps, plain.maps)
    assert not any(module._forward_hooks or module._backward_hooks for module in model.module.modules())
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert not frozen(torch.zeros(1, 3, 32, 32)).requires_grad


def test_nothing_is_left_behind_by_an_error(monkeypatch):
    model = relu_captioner()
    before = mc.explain(model, PHOTO, text=TEXT, method="gradient").maps
    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("broken")))
        with pytest.raises(RuntimeError, match="broken"):
            mc.explain(model, PHOTO, text=TEXT, method="guided_backprop")
    assert not any(module._forward_hooks or module._backward_hooks for module in model.module.modules())
    assert all(parameter.grad is None for parameter in model.module.parameters())
    torch.testing.assert_close(mc.explain(model, PHOTO, text=TEXT, method="gradient").maps, before, rtol=0, atol=0)


def test_pixels_that_lose_their_gradient_are_named():
    class Rounded(SmallCNN):
        def forward(self, pixels):
            return super().forward(pixels.detach())

    with pytest.raises(ValueError, match="does not depend on the photo's pixels in a way that can be differentiated"):
        mc.explain(classifier(Rounded()), PHOTO, method="gradient")


def test_a_layer_has_no_meaning_but_for_grad_cam():
    with pytest.raises(ValueError, match=r"gradient is of the photo's pixels, not of a layer: leave layer='encoder.convs.1' out"):
        mc.explain(relu_captioner(), PHOTO, text=TEXT, method="gradient", layer="encoder.convs.1")
    e = mc.explain(relu_captioner(), PHOTO, text=TEXT, method="guided_grad_cam", layer="encoder.convs.1")
    assert e.layer == "encoder.convs.1"
    guided, cam = (
        mc.explain(relu_captioner(), PHOTO, text=TEXT, method=method, **options)
        for method, options in [("guided_backprop", {}), ("grad_cam", {"layer": "encoder.convs.1"})]
    )
    drawn = F.interpolate(cam["dog"].map.relu()[None, None], (32, 32), mode="bilinear")[0]
    torch.testing.assert_close(e["dog"].pixels, guided["dog"].pixels * drawn)


def test_questions_about_one_photo_and_the_answers_not_given():
    model = small_vqa()
    questions = ["what colour is top", "what colour is left"]
    for question, e in zip(questions, mc.explain(model, PHOTO, question=questions, method="guided_backprop"), strict=True):
        alone = mc.explain(model, PHOTO, question=question, method="guided_backprop")
        assert len(e.answer_parts) == 4
        for part, other in zip(e.answer_parts, alone.answer_parts, strict=True):
            torch.testing.assert_close(part.pixels, other.pixels, rtol=1e-4, atol=1e-7)
        assert [word.share for word in e.question_words] == pytest.approx([word.share for word in alone.question_words], abs=1e-6)


@pytest.mark.parametrize("method", ["gradient", "guided_backprop"])
def test_a_folder_keeps_the_maps_of_pixels(method, tmp_path):
    e = mc.explain(relu_captioner(), noise_image(size=(40, 50)), text=TEXT, method=method)
    e.save(tmp_path / "saved")
    again = mc.Explanation.load(tmp_path / "saved")
    for part, other in zip([*e, *e.phrases(), e.whole()], [*again, *again.phrases(), again.whole()], strict=True):
        torch.testing.assert_close(part.pixels, other.pixels, rtol=0, atol=0)
        torch.testing.assert_close(part.map, other.map, rtol=0, atol=0)
    assert again.layer == "pixels"
    assert e.heatmap("dog").shape == (50, 40)
    assert mc.explain(small_vqa(), PHOTO, question="what is top", method="gradient").answer_parts[1].pixels is not None


def test_the_study_gets_maps_of_words_phrases_and_the_text():
    model = relu_captioner()
    model.module.eval()
    inputs, ids = model.preprocess([PHOTO, noise_image(1)]), model.tokenize([TEXT, "dog"])
    words = [model.spans([i for i in row if i >= 0], None) for row in ids.tolist()]
    wanted = [[*words[0], join(words[0][:2]), join(words[0])], words[1]]
    rows = text_rows(model, inputs, ids, encode(model, inputs, ids), wanted)
    found = dict(iterate_row_maps(model, rows, words, "guided_backprop", "log_prob", n_steps=2))
    e = mc.explain(model, PHOTO, text=TEXT, method="guided_backprop")
    for span in wanted[0]:
        torch.testing.assert_close(found[0].map(span), e.map(span), rtol=1e-4, atol=1e-7)
    assert found[1].map(words[1][0]).shape == (32, 32)
