"""Texts beyond a network's positions, ids beyond its embedding: a line that says how many there are."""

import pytest
import torch
from hf_models import captioners
from networks import WORDS, Decoder, Encoder, Reader, noise_image, small_captioner
from torch import nn

import multimodal_cam as mc

LONG = "a dog runs on grass a dog runs on grass"


class WithPositions(Decoder):
    """Has positions for five words."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Embedding(5, 16)
        nn.init.constant_(self.readout.bias[1:2], -1e3)  # never says its end

    def forward(self, features, ids):
        places = self.positions(torch.arange(ids.shape[1]))
        return super().forward(features, ids) + self.readout(places)


def test_a_text_beyond_the_positions_of_a_captioner():
    options = {
        "encoder": Encoder(),
        "decoder": WithPositions(),
        "tokenizer": WORDS,
        "bos": 0,
        "eos": 1,
        "unk": 2,
        "image_size": 32,
    }
    model = mc.captioner(**options)
    assert mc.explain(model, noise_image(), text="a dog runs on grass").text
    with pytest.raises(ValueError, match=r"the text has 10 tokens .*positions has 5\): shorten the text \(max_words="):
        mc.explain(model, noise_image(), text=LONG)
    with pytest.raises(ValueError, match=r"the text has 6 tokens and the model holds 5 \(positions has 5\)"):
        mc.explain(model, noise_image())
    assert len(mc.explain(mc.captioner(max_words=5, **options), noise_image()).words) <= 5


def test_a_question_vocabulary_beyond_the_embedding():
    words = {word: i for i, word in enumerate(["<unk>", "what", "is", "this"], start=6)}
    model = mc.vqa(encoder=Encoder(), head=Reader(), answers=["a", "b", "c", "d"], tokenizer=words, unk=6, image_size=32)
    with pytest.raises(ValueError, match=r"the question has 3 tokens with ids up to 9, .*embedding has 8\).*use the vocabulary"):
        mc.explain(model, noise_image(), question="what is this")


def test_other_index_errors_are_the_networks_own():
    class Broken(Decoder):
        def forward(self, features, ids):
            return [][0]

    with pytest.raises(IndexError, match="list index out of range"):
        mc.explain(small_captioner(decoder=Broken(), cuts=False), noise_image(), text="a dog")


class LearnedPositions(Decoder):
    """Adds the first `t` rows of a parameter, behind `photo` places that the photo has."""

    def __init__(self, photo):
        super().__init__()
        self.photo, self.pos_table = photo, nn.Parameter(torch.zeros(7, 16))

    def forward(self, features, ids):
        t = ids.shape[1] + self.photo
        read = torch.zeros(1, t, 16) + self.pos_table[:t]
        return super().forward(features, ids) + self.readout(read[:, self.photo :])


@pytest.mark.parametrize(
    ("photo", "line"),
    [
        (0, r"the text has 8 tokens and the model holds 7 \(pos_table has 7\)"),
        (4, r"8 tokens .12 with all that is read. .* 7 \("),
    ],
)
def test_positions_that_are_cut_and_added(photo, line):
    model = small_captioner(decoder=LearnedPositions(photo), cuts=False)
    assert mc.explain(model, noise_image(), text="a dog").text
    with pytest.raises(ValueError, match=line + r".*: shorten the text \(max_words="):
        mc.explain(model, noise_image(), text="a dog runs on grass a dog runs")


ASKED = {"question": "how many dogs?"}
BEYOND = [  # model, what is asked and said, the line that is expected
    (
        captioners.ved_vit,
        {},
        r"the text has 201 tokens and the model holds 64 \(decoder.transformer.wpe has 64\): shorten the text",
    ),
    (captioners.blip_caption, {}, r"the text has 200 tokens and the model holds 64 \(.*position_embeddings has 64\)"),
    (
        captioners.blip_vqa,
        ASKED,
        r"the text has 200 tokens .200 with all .* holds 64 \(position_embeddings has 64\): shorten the question or the text",
    ),
    (captioners.git, {}, r"the text has 200 tokens .200 with all that is read. and the model holds 64 \("),
    (
        captioners.blip2,
        {},
        r"the text has 201 tokens .2\d\d with all that is read. and the model holds 128 \(.*embed_positions has 130",
    ),
]


@pytest.mark.parametrize(("make", "asked", "line"), BEYOND, ids=[make.__name__ for make, _, _ in BEYOND])
def test_a_text_beyond_the_positions_of_a_checkpoint(make, asked, line, tmp_path):
    make(tmp_path)
    model = mc.load(tmp_path, device="cpu")
    with pytest.raises(ValueError, match=line):
        mc.explain(model, noise_image(), text="a dog " * 100, **asked)


@pytest.mark.parametrize("make", [captioners.blip_vqa, captioners.vilt, captioners.instructblip])
def test_a_question_beyond_the_positions_of_a_checkpoint(make, tmp_path):
    make(tmp_path)
    model = mc.load(tmp_path, device="cpu")
    with pytest.raises(ValueError, match=r"the question has \d+ tokens.* and the model holds (64|40)\b.*: shorten the question"):
        mc.explain(model, noise_image(), question="what colour is the dog " * 60)


@pytest.mark.parametrize("make", [captioners.ved_vit, captioners.blip_caption])
def test_what_a_checkpoint_generates_beyond_its_positions(make, tmp_path):
    make(tmp_path)
    model = mc.load(tmp_path, device="cpu")
    with pytest.raises(ValueError, match=r"the model holds 64 .*shorten the text \(max_new_tokens= stops"):
        mc.explain(model, noise_image(), max_new_tokens=100, min_new_tokens=90)


@pytest.mark.parametrize("name", ["nic", pytest.param("sat", marks=pytest.mark.slow)])
def test_our_captioners_take_a_text_as_long_as_a_persons(name):
    e = mc.explain(mc.load(name, device="cpu"), noise_image(), text="a dog runs on grass and " * 9 + "a dog", method="grad_cam")
    assert len(e.words) == 56
    assert bool(e.maps.isfinite().all())
