"""explain(): what goes in, what comes out, and what is refused in words."""

import numpy as np
import pytest
import torch
from networks import WORDS, noise_image, small_captioner
from PIL import Image

import multimodal_cam as mc

TEXT = "a red dog runs"


@pytest.fixture(scope="module")
def model():
    return small_captioner()


def test_the_result_says_where_it_comes_from(model):
    e = mc.explain(model, noise_image(), text=TEXT)
    assert (e.text, e.tokens, e.method, e.score, e.unit) == (TEXT, ("a", "red", "dog", "runs"), "grad_cam", "log_prob", "nats")
    assert (e.model, e.layer) == ("captioner", "encoder")
    assert e.maps.shape == (4, 4, 4)
    assert e.maps.dtype == torch.float32
    assert e.provenance["torch"] == torch.__version__
    assert e.completeness is None
    assert e.unplaced.tolist() == [0, 0, 0, 0]
    assert mc.explain(model, noise_image(), text=TEXT, method="evidence").completeness.shape == (4,)


def test_its_own_text_is_the_likeliest_word_each_time(model):
    e = mc.explain(model, noise_image())
    inputs, ids = model.preprocess([noise_image()]), model.tokenize([e.text])
    model.module.eval()
    with torch.no_grad():
        logits = model.logits(inputs, ids)
    logits[..., [0, 2]] = -torch.inf  # <bos>, <unk>
    logits[:, 0, 1] = -torch.inf
    assert torch.equal(logits.argmax(-1), ids)
    expected = mc.explain(model, noise_image(), text=e.text)
    torch.testing.assert_close(e.maps, expected.maps)  # activations known from generation or not: the same
    torch.testing.assert_close(e.log_probs, expected.log_probs)


@pytest.mark.parametrize("make", [lambda i, p: p, lambda i, p: str(p), lambda i, p: i, lambda i, p: np.asarray(i)])
def test_paths_images_and_arrays_are_the_same_photo(model, tmp_path, make):
    noise_image().save(tmp_path / "Foto – größer & <b>.png")
    e = mc.explain(model, make(noise_image(), tmp_path / "Foto – größer & <b>.png"), text=TEXT)
    assert torch.equal(e.maps, mc.explain(model, noise_image(), text=TEXT).maps)
    assert e.image.size == (40, 30)


def test_a_list_gives_a_list_whatever_the_batch_size(model):
    images, texts = [noise_image(i) for i in range(5)], [TEXT, "a", "red ball", "a dog", "grass"]
    apart = mc.explain(model, images, text=texts, batch_size=1)
    together = mc.explain(model, images, text=texts, batch_size=3)
    assert [e.text for e in apart] == [e.text for e in together] == texts
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one.maps, other.maps, rtol=1e-4, atol=1e-6)
    assert mc.explain(model, [noise_image()], text=TEXT)[0].text == TEXT
    assert mc.explain(model, []) == []


def test_failures_are_raised_or_skipped(model, tmp_path):
    (tmp_path / "empty.jpg").touch()
    images = [noise_image(0), tmp_path / "empty.jpg", noise_image(1), "nowhere.png"]
    with pytest.raises(ValueError, match=r"empty\.jpg"):
        mc.explain(model, images, text=TEXT)
    found = mc.explain(model, images, text=TEXT, on_error="skip")
    assert [type(one).__name__ for one in found] == ["Explanation", "Failure", "Explanation", "Failure"]
    assert isinstance(found[3].error, FileNotFoundError)
    assert found[1].image == tmp_path / "empty.jpg"
    assert isinstance(mc.explain(model, "nowhere.png", on_error="skip"), mc.Failure)


def test_unknown_words_are_an_error_or_marked(model):
    with pytest.raises(mc.UnknownWordError, match=r"cannot say 'dogg' \(near: dog\), 'xyzzy': .*unknown='unk'"):
        mc.explain(model, noise_image(), text="a dogg runs xyzzy")
    e = mc.explain(model, noise_image(), text="a dogg runs", unknown="unk")
    assert [(w.text, w.known) for w in e.words] == [("a", True), ("dogg", False), ("runs", True)]
    assert e.maps[1].isnan().all()
    assert e.tokens[1] == "<unk>"
    assert e.whole().map.isfinite().all()


@pytest.mark.parametrize("method", sorted(name for name, spec in mc.METHODS.items() if not spec.linear))
def test_methods_that_are_not_linear_have_maps_of_phrases_too(model, method):
    e = mc.explain(model, noise_image(), text="a red dog runs on grass", method=method)
    assert e.token_maps is None
    assert [p.text for p in e.phrases()] == ["a red dog", "grass"]
    assert e.phrases()[0].map.shape == e.whole().map.shape == e.maps.shape[1:]
    with pytest.raises(mc.WordError, match="not linear"):
        e["dog runs"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"method": "nonsense"},
            ValueError,
            "unknown method 'nonsense'; choose from ablation_cam, attention, ",
        ),
        ({"score": "logprob"}, ValueError, "unknown score 'logprob'; choose from contrast, log_prob, logit"),
        (
            {"layer": "encoder.lats"},
            ValueError,
            "unknown layer 'encoder.lats'; choose from encoder, encoder.first, encoder.norm, encoder.last",
        ),
        ({"text": ""}, ValueError, "text: expected words, got ''"),
        ({"text": "  "}, ValueError, "text: expected words"),
        ({"text": "..."}, ValueError, "expected a text with words, got '...'"),
        ({"text": "a dog " * 5}, ValueError, "says at most 8 tokens, the text has 10"),
        ({"n_steps": 0, "text": TEXT}, ValueError, "n_steps: expected 1 or more, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size: expected 1 or more"),
        ({"unknown": "ignore"}, ValueError, "unknown unknown 'ignore'; choose from error, unk"),
        ({"on_error": "pass"}, ValueError, "choose from raise, skip"),
        ({"temperature": 0.5}, ValueError, "has no temperature=: the options of its decoder are max_words="),
    ],
)
def test_what_is_refused(model, options, error, message):
    with pytest.raises(error, match=message):
        mc.explain(model, noise_image(), **options)


@pytest.mark.parametrize("image", [None, 3, b"bytes", np.zeros(4), np.full((4, 4, 3), np.nan), "https://example.org/dog.jpg"])
def test_what_is_no_photo(model, image):
    with pytest.raises((TypeError, ValueError)):
        mc.explain(model, image, text=TEXT)


@pytest.mark.parametrize("size", [(1, 1), (3000, 40)])
def test_extreme_photos(model, size):
    e = mc.explain(model, Image.new("RGB", size, "red"), text=TEXT)
    assert e.heatmap("dog").shape == (size[1], size[0])


def test_the_decoder_is_told_what_it_should_give(model):
    class Short(torch.nn.Module):
        def forward(self, features, ids):
            return torch.zeros(len(ids), 1, 10)

    with pytest.raises(ValueError, match=r"expected logits \(b, t, v\) = \(1, 4, v\), position i scoring ids\[:, i\]"):
        mc.explain(small_captioner(decoder=Short(), cuts=False), noise_image(), text=TEXT)


def test_own_words_and_their_ids():
    model = small_captioner()
    with pytest.raises(ValueError, match="no end token"):
        mc.explain(mc.captioner(encoder=model.encoder, decoder=model.decoder, tokenizer=WORDS, image_size=32), noise_image())


def test_texts_for_some_images_only_are_refused(model):
    with pytest.raises(ValueError, match="one for every image or for none"):
        mc.explain(model, [noise_image(0), noise_image(1)], text=["a dog", None])


def test_progress_goes_to_stderr(model, capsys):
    mc.explain(model, [noise_image(i) for i in range(3)], text=TEXT, progress=True)
    captured = capsys.readouterr()
    assert "explaining" in captured.err
    assert captured.out == ""


def test_instead_of_compares_a_word_with_another_at_its_place():
    model, image = small_captioner(), noise_image()
    e = mc.explain(model, image, text="a dog runs", instead_of={"dog": "ball"}, method="grad_cam")
    dog, ball = (mc.explain(model, image, text=f"a {word} runs", score="logit", method="grad_cam") for word in ("dog", "ball"))
    torch.testing.assert_close(e["dog"].map, dog["dog"].map - ball["ball"].map, rtol=1e-4, atol=1e-6)
    assert e["dog"].score == pytest.approx(dog["dog"].score - ball["ball"].score, rel=1e-4)
    contrast = mc.explain(model, image, text="a dog runs", score="contrast", method="grad_cam")
    torch.testing.assert_close(e["runs"].map, contrast["runs"].map)  # the other words against their likeliest rivals
    assert (e.score, e.unit) == ("contrast", "nats")


def test_instead_of_for_a_run_of_words_counts_where_they_first_differ():
    model, image = small_captioner(), noise_image()
    e = mc.explain(model, image, text="a red dog runs", instead_of={"red dog": "red ball"}, method="grad_cam")
    alone = mc.explain(model, image, text="a red dog runs", instead_of={"dog": "ball"}, method="grad_cam")
    torch.testing.assert_close(e["red dog"].map, alone["dog"].map)
    assert e["red"].score == 0


@pytest.mark.parametrize(
    ("instead_of", "error", "message"),
    [
        ("ball", ValueError, r"'a dog runs' has 3 words, say which: instead_of=\{WORD: 'ball'\}"),
        ({"cat": "ball"}, mc.WordError, "'cat' is not in 'a dog runs'"),
        ({"dog": "elephant"}, mc.UnknownWordError, "elephant"),
        ({"dog": "dog"}, ValueError, "reads 'dog' as it reads 'dog'"),
    ],
)
def test_instead_of_what_is_refused(instead_of, error, message):
    with pytest.raises(error, match=message):
        mc.explain(small_captioner(), noise_image(), text="a dog runs", instead_of=instead_of)


def test_a_counterfactual_caption_is_the_negated_map():
    model, image = small_captioner(), noise_image()
    e, against = (mc.explain(model, image, text=TEXT, method="evidence", counterfactual=c) for c in (False, True))
    torch.testing.assert_close(against.maps, -e.maps)
    assert (against.score, against.counterfactual) == ("log_prob", True)


def test_several_texts_about_one_photo_run_the_backbone_once():
    model, image = small_captioner(), noise_image()
    model.layer_view(model.preprocess([image]), model.layer)  # its layout is measured once
    runs = []
    handle = model.encoder.register_forward_hook(lambda module, args, output: runs.append(len(args[0])))
    together = mc.explain(model, image, text=["a dog runs", "a ball"])
    handle.remove()
    assert runs == [1, 1]  # the photo, and the mean-colour image of the baseline
    for e in together:
        torch.testing.assert_close(mc.explain(model, image, text=e.text).maps, e.maps, rtol=1e-4, atol=1e-6)
