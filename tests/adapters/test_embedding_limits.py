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
    with pytest.raises(ValueError, match="positions has 5"):
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


@pytest.mark.parametrize("make", [captioners.ved_vit, captioners.blip_caption])
def test_a_text_beyond_the_positions_of_a_checkpoint(make, tmp_path):
    make(tmp_path)
    model = mc.load(tmp_path, device="cpu")
    with pytest.raises(ValueError, match=r"the text has \d+ tokens .*\bhas \d+.*shorten the text"):
        mc.explain(model, noise_image(), text="a dog " * 600)
