"""`mc.check` finds what is wrong with an adapter, and nothing with a right one."""

from __future__ import annotations

import functools

import pytest
import torch
from networks import WORDS as WORD_LIST
from networks import Decoder, Encoder, noise_image, small_captioner, small_vqa, to_tensor
from PIL import ImageOps
from torchvision.transforms import Compose, RandomErasing, Resize, ToTensor

import multimodal_cam as mc
from multimodal_cam.core.geometry import Placement, center_crop, squeeze

WORDS = "its own words are the likeliest"
CAUSALITY = "no position sees the token that it scores"
HEAD = "the head is the rest of the network"
SLOPES = "slopes are finite differences"
BATCH = "two photos at once are each alone"
PLACEMENT = "the placement is where preprocess puts the photo"
PLACES = "cells lie where the placement says"
DARK = noise_image(0, (8, 6)).resize((64, 48)).point(lambda value: value // 2)
PHOTO = noise_image(0, (8, 6)).resize((64, 48))


def failed(model, **options) -> list[str]:
    found = mc.check(model, PHOTO, **options)
    assert [one.name for one in found] == [WORDS, CAUSALITY, HEAD, SLOPES, BATCH, PLACEMENT, PLACES]
    assert [str(one).startswith("FAILED") for one in found] == [not one.passed for one in found]
    return [one.name for one in found if not one.passed]


def test_right_ones_pass():
    model = small_captioner()
    assert failed(model) == failed(model, text="a dog runs on grass") == []
    assert failed(small_vqa(), question="what is this?") == []
    assert not any(module._forward_hooks for module in model.module.modules())


def wrong(change):
    """A captioner whose `logits` are those that `change(right, inputs, ids, activations)` gives."""
    model = small_captioner()
    right = model.logits
    model.logits = lambda inputs, ids, activations=None: change(right, inputs, ids, activations)
    return model


def test_positions_that_are_off_by_one():
    assert WORDS in failed(wrong(lambda right, inputs, ids, a: right(inputs, ids, a).roll(1, dims=1)), text="a dog runs on grass")


def test_another_head():
    assert failed(wrong(lambda right, inputs, ids, a: right(inputs, ids, None if a is None else a + 0.1)))[:1] == [HEAD]


def test_a_path_that_is_detached():
    def half(right, inputs, ids, a):
        return right(inputs, ids, None if a is None else (a + a.detach()) / 2)

    assert failed(wrong(half)) == [SLOPES]


def test_rows_that_hang_together():
    def mixed(right, inputs, ids, a):
        logits = right(inputs, ids, a)
        return logits + 0.1 * (logits[:1] - logits)

    assert BATCH in failed(wrong(mixed))


def test_rows_that_run_apart():
    model = small_captioner()
    model.batch_key = lambda image, question: object()
    found = {one.name: one for one in mc.check(model, PHOTO)}
    assert (found[BATCH].passed, found[BATCH].detail) == (True, "they run one after the other")


def test_a_grid_that_is_upside_down():
    model = small_captioner(layout="bchw")  # said by hand: what is measured is put upright
    model.layer.last.register_forward_hook(lambda _m, _a, grid: grid.flip(2))
    assert failed(model) == [PLACES]
    measured = small_captioner()
    measured.layer.last.register_forward_hook(lambda _m, _a, grid: grid.flip(2))
    assert failed(measured) == []


def test_a_placement_that_preprocess_does_not_have():
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

    crop = Compose([Resize(40), CenterCrop(32), ToTensor()])
    assert failed(small_captioner(preprocess=crop)) == []
    wrong_one = small_captioner(preprocess=crop, placement=squeeze)
    assert failed(wrong_one) == [PLACEMENT]
    (said,) = [one.detail for one in mc.check(wrong_one, PHOTO) if one.name == PLACEMENT]
    assert said.startswith("stated (0.00, 0.00, 1.00, 1.00), measured (0.19, 0.10, 0.79, 0.90): leave placement= out")
    right = small_captioner(preprocess=crop, placement=functools.partial(center_crop, resize=40, crop=32))
    assert failed(right) == []


def test_a_placement_that_cannot_be_measured_is_compared_with_the_photo():
    def solarized(image):
        return to_tensor(ImageOps.solarize(image, 128))

    for placement, right in ((squeeze, True), (lambda w, h: Placement(w, h, (0.4, 0.4, 0.9, 0.9)), False)):
        found = {one.name: one for one in mc.check(small_captioner(preprocess=solarized, placement=placement), DARK)}
        assert found[PLACEMENT].passed is right
        assert "not measured (preprocess: " in found[PLACEMENT].detail


def test_what_an_adapter_raises_is_said():
    def broken(right, inputs, ids, a):
        if a is not None:
            raise RuntimeError("no head")
        return right(inputs, ids)

    found = {one.name: one for one in mc.check(wrong(broken), PHOTO)}
    assert not found[HEAD].passed
    assert found[HEAD].detail.startswith(f"RuntimeError: no head, at {__file__}:")
    assert found[HEAD].detail.endswith("; logits(inputs, ids, activations) must run what follows the layer, for several rows")
    (only,) = mc.check(small_captioner(), PHOTO, text="an elephant")
    assert not only.passed
    assert "elephant" in only.detail


def test_half_precision():
    model = small_captioner()
    model.module.bfloat16()
    preprocess = model.image_inputs
    model.image_inputs = lambda images: (lambda inputs: type(inputs)(inputs.pixels.bfloat16(), inputs.placements))(
        preprocess(images)
    )
    found = {one.name: one for one in mc.check(model, PHOTO, text="a dog")}
    assert found[HEAD].passed
    assert found[SLOPES].passed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nic", "sat", "lstm-q", "san", "efficientnet_lite0"])
def test_bundled_models_pass(name):
    from pathlib import Path

    model = mc.load(name, device="cpu")
    photo = Path(mc.__file__).parent / "data" / "samples" / "dog.jpg"
    found = mc.check(model, photo, question="what is the dog doing?" if model.task == "vqa" else None)
    assert all(one.passed for one in found), "\n".join(map(str, found))
    assert torch.is_grad_enabled()


# ---- causes, other layers, encoders that give a vector, networks that were never trained --------------------------------


def detail(name, model, **options) -> str:
    return next(one.detail for one in mc.check(model, PHOTO, **options) if one.name == name)


def test_a_failure_names_its_cause():
    shifted = wrong(lambda right, inputs, ids, a: right(inputs, ids, a).roll(1, dims=1))
    assert "logits scores the token" in detail(WORDS, shifted, text="a dog runs on grass")
    flipped = small_captioner(layout="bchw")  # said by hand: what is measured is put upright
    flipped.layer.last.register_forward_hook(lambda _m, _a, grid: grid.flip(2))
    assert "the grid is upside down" in detail(PLACES, flipped)
    mirrored = small_captioner(layout="bchw")
    mirrored.layer.last.register_forward_hook(lambda _m, _a, grid: grid.flip(3))
    assert "the grid is mirrored" in detail(PLACES, mirrored)
    random = wrong(lambda right, inputs, ids, a: torch.nn.functional.dropout(right(inputs, ids, a), 0.5))
    assert "F.dropout needs training=self.training" in detail(HEAD, random)
    erased = small_captioner(preprocess=Compose([Resize((64, 64)), ToTensor(), RandomErasing(p=1)]))
    assert "First of all, preprocess gives other pixels each time" in detail(BATCH, erased)
    mixed = wrong(lambda right, inputs, ids, a: (lambda x: x + 0.1 * (x[:1] - x))(right(inputs, ids, a)))
    assert "rows act on each other" in detail(BATCH, mixed)


@pytest.mark.parametrize("layer", ["encoder.first", "encoder.norm"])
def test_another_layer(layer):
    assert failed(small_captioner(), layer=layer) == []
    model = small_captioner()
    assert failed(model, layer=model.encoder.first) == []


class VectorEncoder(torch.nn.Module):
    """`(b, 3, 32, 32)` -> `(b, 6)`, as most Show and Tell encoders."""

    def __init__(self):
        super().__init__()
        self.cnn = Encoder()

    def forward(self, pixels):
        return self.cnn(pixels).mean(dim=(2, 3))


class VectorDecoder(Decoder):
    def __init__(self):
        super().__init__()
        self.pool = torch.nn.Identity()


def test_an_encoder_that_gives_a_vector():
    torch.manual_seed(0)
    parts = {"encoder": VectorEncoder(), "decoder": VectorDecoder()}
    model = mc.captioner(tokenizer=WORD_LIST, bos=0, eos=1, unk=2, image_size=32, max_words=8, **parts)
    found = {one.name: one for one in mc.check(model, PHOTO)}
    assert list(found) == [WORDS, CAUSALITY, "the layer gives a grid"]
    assert not found["the layer gives a grid"].passed
    assert "encoder.cnn" in found["the layer gives a grid"].detail
    assert failed(model, layer="encoder.cnn") == []


@pytest.mark.parametrize("seed", range(3))
def test_no_alarm_at_networks_that_were_never_trained(seed):
    torch.manual_seed(seed)
    plain = {"tokenizer": WORD_LIST, "bos": 0, "eos": 1, "unk": 2, "image_size": 32, "max_words": 8}
    assert failed(mc.captioner(encoder=Encoder(), decoder=Decoder(), **plain)) == []
    squeezed = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=4, padding=1),
        torch.nn.GroupNorm(1, 8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 7, stride=4, padding=3),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 3),
    )
    assert failed(mc.classifier(squeezed, image_size=32)) == []  # 2 x 2 cells, each of which sees the whole photo
    with torch.no_grad():
        squeezed[6].weight.mul_(1e-4)
    assert failed(mc.classifier(squeezed, image_size=32)) == []  # slopes in the last digits of the logits


# ---- decoders that see what they score, progress, quick and thorough ---------------------------------------------------------


class SeesItself(Decoder):
    """Adds the word itself to each position."""

    def forward(self, features, ids):
        return super().forward(features, ids) + self.readout(self.embed(ids))


class NotShifted(Decoder):
    """Feeds `ids` where `<start>` and `ids[:, :-1]` belong."""

    def forward(self, features, ids):
        return super().forward(features, torch.cat([ids, ids[:, :1]], dim=1))[:, 1:]


class ReadsBackwards(Decoder):
    """An RNN that reads both ways."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(16, 8, batch_first=True, bidirectional=True)

    def forward(self, features, ids):
        words = self.embed(torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], dim=1))
        later, _ = self.lstm(self.embed(ids))
        return super().forward(features, ids) + self.readout(words + later)


class Unmasked(Decoder):
    """Self-attention without a causal mask."""

    def __init__(self):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, features, ids):
        words = self.embed(torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], dim=1))
        both = torch.cat([words, self.embed(ids)], dim=1)
        return super().forward(features, ids) + self.readout(self.attention(words, both, both)[0])


@pytest.mark.parametrize(
    ("decoder", "cause"),
    [
        (SeesItself, "its inputs are not shifted: feed it the start token and ids[:, :-1]"),
        (NotShifted, "its inputs are not shifted: feed it the start token and ids[:, :-1]"),
        (ReadsBackwards, "the decoder sees tokens that come later: give it a causal mask"),
        (Unmasked, "the decoder sees tokens that come later: give it a causal mask"),
    ],
)
@pytest.mark.parametrize("text", [None, "a dog runs on grass"])
def test_a_decoder_that_sees_what_it_scores(decoder, cause, text):
    model = small_captioner(decoder=decoder())
    (found,) = [one for one in mc.check(model, PHOTO, text=text) if one.name == CAUSALITY]
    assert not found.passed
    assert cause in found.detail


def test_a_text_of_one_word_that_is_seen():
    assert not next(
        one for one in mc.check(small_captioner(decoder=SeesItself()), PHOTO, text="dog") if one.name == CAUSALITY
    ).passed
    assert failed(small_captioner(), text="dog") == []


def test_progress_names_each_trial_in_turn():
    heard = []
    found = mc.check(small_captioner(), PHOTO, progress=lambda *said: heard.append(said))
    assert [done for done, _, _ in heard] == list(range(len(found) + 2))
    assert {total for _, total, _ in heard} == {len(found) + 1}
    assert [name for _, _, name in heard] == ["preprocess, generate and tokenize", *(one.name for one in found), ""]


def test_quick_is_a_part_of_thorough():
    lengths = []

    def counted(right, inputs, ids, a):
        lengths.append(ids.shape[1])
        return right(inputs, ids, a)

    text = "a dog runs on red grass a ball"
    assert failed(wrong(counted), text=text) == []
    assert max(lengths) == 6
    quick = len(lengths)
    lengths.clear()
    assert failed(wrong(counted), text=text, thorough=True) == []
    assert len(lengths) >= quick
    assert max(lengths) == 8


@pytest.mark.parametrize("text", [None, "a dog runs on grass"])
def test_every_failure_says_what_to_do(text):
    """Each fault of this file, and that its line names what the user can change."""
    faults = [
        wrong(lambda right, inputs, ids, a: right(inputs, ids, a).roll(1, dims=1)),
        wrong(lambda right, inputs, ids, a: right(inputs, ids, None if a is None else a + 0.1)),
        wrong(lambda right, inputs, ids, a: right(inputs, ids, None if a is None else (a + a.detach()) / 2)),
        wrong(lambda right, inputs, ids, a: (lambda x: x + 0.1 * (x[:1] - x))(right(inputs, ids, a))),
        wrong(lambda right, inputs, ids, a: right(inputs, ids, a) if a is None else 1 / 0),
        small_captioner(decoder=SeesItself()),
    ]
    for model in faults:
        lines = [one.detail for one in mc.check(model, PHOTO, text=text) if not one.passed]
        assert lines
        assert all(any(word in line for word in ("must", "take out", "look for", "give", "feed", "leave")) for line in lines), (
            lines
        )
