"""Arguments as people of other libraries give them."""

import io

import numpy as np
import pytest
import torch
from classifiers import small_classifier
from matplotlib.figure import Figure
from networks import noise_image, small_captioner
from PIL import Image
from torch import nn
from toys import toy_explanation

import multimodal_cam as mc
from multimodal_cam.core.images import load_image
from multimodal_cam.methods import find_method

TEXT = "a red dog runs"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 4, 1), r"a network, Conv2d: mc.classifier\(network, labels=names.* mc.captioner\("),
        ("nic", r"got str: explain\(mc.load\('nic'\), ...\)"),
        (None, "expected what load, captioner, vqa or classifier give, got NoneType"),
    ],
)
def test_what_is_no_adapter_is_said(model, message):
    with pytest.raises(TypeError, match=message):
        mc.explain(model, noise_image())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": [281]}, r"no targets=: text= is what is explained.*text=281"),
        ({"class_idx": 281}, "no class_idx="),
        ({"target_layers": []}, "no target_layers=: layer="),
        ({"metod": "grad_cam"}, "no metod=: did you mean method="),
        ({"progres": True}, "did you mean progress="),
    ],
)
def test_options_of_other_libraries_are_said(options, message):
    with pytest.raises(TypeError, match=message):
        mc.explain(small_captioner(), noise_image(), **options)


def test_a_class_id_is_the_class():
    model = small_classifier()
    label = model.labels.names[2]
    expected = mc.explain(model, noise_image(), text=label)
    for text in (2, np.int64(2), torch.tensor(2)):
        found = mc.explain(model, noise_image(), text=text)
        assert found.text == label
        assert torch.equal(found.maps, expected.maps)
    assert [e.text for e in mc.explain(model, noise_image(), text=[0, 1])] == list(model.labels.names[:2])
    with pytest.raises(ValueError, match=r"text=99999: expected a class from 0 to \d+, or its name"):
        mc.explain(model, noise_image(), text=99999)
    with pytest.raises(ValueError, match="has no numbered classes"):
        mc.explain(small_captioner(), noise_image(), text=2)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("GradCAM", "grad_cam"),
        ("grad-cam", "grad_cam"),
        ("gradcam++", "grad_cam_pp"),
        ("Grad-CAM++", "grad_cam_pp"),
        ("GradCAMPlusPlus", "grad_cam_pp"),
        ("XGradCAM", "xgrad_cam"),
        ("HiResCAM", "hires_cam"),
        ("LayerCAM", "layer_cam"),
        ("EigenGradCAM", "eigen_grad_cam"),
        ("IntegratedGradients", "evidence"),
        (type("GradCAM", (), {}), "grad_cam"),
    ],
)
def test_methods_in_the_spelling_of_others(written, name):
    assert find_method(written).name == name


def test_a_method_that_nobody_has_is_near_another():
    with pytest.raises(ValueError, match="unknown method 'grad_camm': did you mean grad_cam"):
        find_method("grad_camm")
    with pytest.raises(ValueError, match="unknown method 'ThirdCAM'"):
        find_method(type("ThirdCAM", (), {}))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("resnet50", {}, ValueError, "did you mean timm:resnet50, torchvision:resnet50"),
        ("nic", {"trust_remote_code": True}, ValueError, "trust_remote_code: only Hugging Face checkpoints take it"),
        ("nic", {"pickled": True}, ValueError, "pickled: only Hugging Face checkpoints take it"),
        (nn.Conv2d(3, 4, 1), {}, TypeError, r"a Conv2d: a network of yours goes into mc.classifier\("),
    ],
)
def test_what_load_is_given(name, options, error, message):
    with pytest.raises(error, match=message):
        mc.load(name, **options)


def test_options_of_a_decoder():
    nic = mc.load("nic", device="cpu")
    with pytest.raises(TypeError, match="nic has no do_sample=: it decodes by beam search, with beam and length_penalty only"):
        mc.explain(nic, noise_image(), do_sample=True)


def test_photos_as_bytes_and_files(tmp_path):
    image = noise_image()
    for kind, options in (("PNG", {}), ("TIFF", {}), ("PNG", {"mode": "I;16"})):
        source = Image.fromarray(np.arange(1200, dtype="uint16").reshape(30, 40) * 50) if options else image
        file = io.BytesIO()
        source.save(file, kind)
        path = tmp_path / f"photo.{kind.lower()}"
        path.write_bytes(file.getvalue())
        expected = load_image(path)
        for given in (file.getvalue(), bytearray(file.getvalue()), io.BytesIO(file.getvalue())):
            assert np.array_equal(load_image(given), expected)
        with path.open("rb") as opened:
            assert np.array_equal(load_image(opened), expected)
    with pytest.raises(TypeError, match='open it with mode "rb"'):
        load_image(io.StringIO("text"))
    with pytest.raises(ValueError, match="the photo of 3 bytes.* is no image"):
        load_image(b"abc")
    with pytest.raises(ValueError, match=r"empty \(0 bytes\)"):
        load_image(b"")


def test_an_explanation_is_a_sequence_of_words(tmp_path):
    e = toy_explanation()
    assert len(e) == 8
    assert [part.text for part in e] == e.text.split()
    assert repr(e["dog"]).startswith("SpanExplanation('dog', score=-0.5, reliance=+")
    assert len(repr(e["dog"])) < 100
    assert repr(mc.Failure("a.jpg", ValueError("two\nlines"))) == "Failure('a.jpg', ValueError: two lines)"
    assert "<html" in e.to_html(tmp_path / "new" / "folder" / "page.html")
    for name in ("x.png", "x.html"):
        with pytest.raises(ValueError, match=r"save writes a folder, and .* is called like a file: e.figure\(\).savefig"):
            e.save(tmp_path / name)


def test_a_word_is_drawn_on_axes_of_yours():
    e, figure = toy_explanation(), Figure()
    first, second = figure.subplots(1, 2)
    assert e.figure(ax=first, word="dog") is figure
    assert first.get_title() == "dog"
    e.figure(ax=second)
    assert second.images
    with pytest.raises(ValueError, match="word: figure"):
        e.figure(word="dog")


def test_a_decoder_with_other_arguments_is_told_the_contract():
    class TakesLengths(nn.Module):
        def forward(self, encoder_out, encoded_captions, caption_lengths):
            raise AssertionError("never called")

    model = small_captioner(decoder=TakesLengths(), cuts=False)
    with pytest.raises(TypeError, match=r"called as decoder\(features, ids\) and gives .*'caption_lengths'.*how-to/captioner"):
        mc.explain(model, noise_image(), text=TEXT)


def test_a_captioner_of_yours_says_at_most_so_many_words():
    assert len(mc.explain(small_captioner(), noise_image(), max_words=1).tokens) == 1
    with pytest.raises(ValueError, match="max_words: expected 1 or more, got 0"):
        mc.explain(small_captioner(), noise_image(), max_words=0)
