"""Parts that an adapter taps are followed by name: replaced after the model was made, they give the maps of a new model."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import COLOURS, QUESTION_WORDS, SIDE, WORDS, noise_image, small_captioner, small_vqa
from torch import nn

import multimodal_cam as mc

PHOTO = noise_image(0, (64, 64))
METHODS = ("grad_cam", "evidence")


def new_captioner(model):
    decoder = model.module.decoder
    cut = {"head_input_layer": decoder.pool, "readout": decoder.readout}
    return mc.captioner(
        encoder=model.module.encoder, decoder=decoder, tokenizer=WORDS, bos=0, eos=1, unk=2, image_size=SIDE, max_words=8, **cut
    )


def new_vqa(model):
    head = model.module.head
    cut = {"head_input_layer": head.pool, "question_layer": head.embedding}
    return mc.vqa(
        encoder=model.module.encoder, head=head, answers=list(COLOURS), tokenizer=QUESTION_WORDS, unk=0, image_size=SIDE, **cut
    )


class Scaled(nn.Module):
    """Another module around the old one, as LoRA puts it there."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, values):
        return self.inner(values) + self.factor * self.inner(values).flip(-1 if values.ndim == 3 else 1)


def assert_as_new(model, new, **asked):
    for method in METHODS:
        found, expected = (mc.explain(each, PHOTO, method=method, n_steps=2, **asked) for each in (model, new))
        assert torch.equal(found.token_maps, expected.token_maps)
        assert torch.equal(found.token_reliance, expected.token_reliance)
        if found.question_words:
            assert torch.equal(found.token_question, expected.token_question)


@pytest.mark.parametrize("part", ["pool", "readout", "image", "embed"])
@pytest.mark.parametrize("wrap", [lambda old: Scaled(old, 0.5), copy.deepcopy], ids=["around", "anew"])
def test_a_decoder(part, wrap):
    model = small_captioner()
    before = mc.explain(model, PHOTO, text="a dog runs", method="evidence")
    new = wrap(getattr(model.decoder, part))
    with torch.no_grad():
        for weight in new.parameters():
            weight.mul_(1.3)
    setattr(model.decoder, part, new)
    assert_as_new(model, new_captioner(model), text="a dog runs")
    if part != "pool" or isinstance(new, Scaled):
        assert not torch.equal(mc.explain(model, PHOTO, text="a dog runs", method="evidence").token_maps, before.token_maps)


@pytest.mark.parametrize("part", ["pool", "embedding", "readout"])
def test_a_head(part):
    model = small_vqa()
    mc.explain(model, PHOTO, question="what colour is top left")
    setattr(model.head, part, Scaled(getattr(model.head, part), 0.5))
    assert_as_new(model, new_vqa(model), question="what colour is top left")


def test_a_part_that_is_gone():
    model = small_captioner()
    decoder = model.decoder
    decoder.last, decoder.forward = decoder.readout, decoder.forward
    del decoder.readout
    with pytest.raises(ValueError, match=r"readout: this ModuleDict no longer has 'decoder\.readout': make the model anew"):
        mc.explain(model, PHOTO, text="a dog")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["nic", "lstm-q"])
def test_lora_in_a_bundled_model(name):
    peft = pytest.importorskip("peft")
    model = mc.load(name, device="cpu")
    asked = {"text": "a dog runs"} if name == "nic" else {"question": "what is the dog doing?"}
    before = mc.explain(model, PHOTO, **asked)
    linear = [name for name, part in model.module.named_modules() if isinstance(part, (nn.Linear, nn.Embedding))]
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model.module, peft.LoraConfig(target_modules=linear, r=2))
    with torch.no_grad():
        for path, weight in adapted.named_parameters():
            if "lora_B" in path or "lora_embedding_B" in path:
                weight.normal_(std=0.05)
    found = mc.explain(model, PHOTO, method="grad_cam", **asked)
    adapted.merge_adapter()  # the same numbers, LoRA's branches gone
    merged = mc.explain(model, PHOTO, method="grad_cam", **asked)
    torch.testing.assert_close(found.token_maps, merged.token_maps, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found.token_scores, before.token_scores, atol=1e-3)
