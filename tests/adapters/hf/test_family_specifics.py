"""What only one Hugging Face family has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest
import torch
from hf_models import captioners
from networks import noise_image
from PIL import Image

import multimodal_cam as mc

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2


def test_kosmos_boxes_are_tokens_but_no_words(tmp_path):
    captioners.kosmos2(tmp_path)
    model = mc.load(tmp_path, device="cpu")
    text = "a<phrase> brown dog</phrase><object><patch_index_0003><patch_index_0012></object> runs."
    e = mc.explain(model, noise_image(0, (64, 64)), text=text, question="<grounding> An image of")
    assert [word.text for word in e.words] == ["a", "brown", "dog", "runs", "."]
    assert "<patch_index_0003>" in e.tokens
    assert e["dog"].map.any()
    spoken = model.spans(model.tokenize([text])[0].tolist())
    assert [(word.text, word.start, word.stop) for word in spoken] == [(w.text, w.start, w.stop) for w in e.words]


# ---- ViLT: an answer out of a list -------------------------------------------------------------------------------------------


def test_one_answer_rather_than_another_is_the_difference_of_their_logits(checkpoints):
    model, photo, question = mc.load(checkpoints("vilt"), device="cpu"), noise_image(0, (96, 48)), "what is there?"
    names = list(model.module.config.id2label.values())
    e = mc.explain(model, photo, question=question, text=names[0], instead_of=names[1], score="contrast", method="hires_cam")
    inputs = model.preprocess([photo], [question])
    with torch.no_grad():
        logits = model.logits(inputs, model.tokenize([names[0]]))[0, 0]
    torch.testing.assert_close(e.token_scores[0], logits[0] - logits[1], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="none of the"):
        mc.explain(model, photo, question=question, text=names[0], instead_of="elephants", score="contrast")


# ---- Pix2Struct: the question is written above the photo ---------------------------------------------------------------------


@pytest.fixture
def header_model(tmp_path, monkeypatch):
    """A VQA checkpoint, with matplotlib's font in the place of the hub's."""
    from transformers.models.pix2struct import image_processing_pix2struct

    font = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    hub = SimpleNamespace(hf_hub_download=lambda *_: str(font))
    monkeypatch.setattr(image_processing_pix2struct, "hf_api", lambda: hub)
    torch.manual_seed(0)
    captioners.pix2struct(tmp_path, is_vqa=True)
    return mc.load(tmp_path, device="cpu")


def test_pix2struct_answers_what_the_model_answers(header_model):
    photo, question = noise_image(0, (300, 300)), "what colour is it?"
    e = mc.explain(header_model, photo, question=question, max_new_tokens=6)
    values = header_model.loaded.processor(images=photo, text=question, return_tensors="pt", max_patches=40)
    said = header_model.module.generate(**values, max_new_tokens=6, min_new_tokens=1)
    assert header_model.tokens(said[0, 1 : 1 + len(e.tokens)].tolist()) == list(e.tokens)


def test_pix2structs_photo_lies_below_the_header(header_model):
    """Of what the model sees, the rows on the photo are the ones that change with it; the header stays in the baseline."""
    inputs = header_model.preprocess([noise_image(0, (300, 300))], ["what colour is it?"])
    _, top, _, bottom = inputs.placements[0].frame
    rows = int(inputs.pixels[0, :, 0].max())
    height = (bottom - top) / rows
    assert top < -0.1
    assert bottom == pytest.approx(1, abs=0.02)
    blank = header_model.baseline_inputs(inputs).pixels[0, :, 2:].abs().sum(dim=1).view(rows, -1).sum(dim=1)
    assert [bool(row) for row in blank] == [top + height * (i + 0.5) <= 0 for i in range(rows)]

    def seen(photo):
        return header_model.images.unnormalized_image(photo, "what colour is it?")

    dark, light = Image.new("RGB", (300, 300)), Image.new("RGB", (300, 300), (255, 255, 255))
    light.paste((0, 0, 0), (0, 0, 300, 150))  # white in the lower half
    changed = (seen(light) - seen(dark)).abs().sum(dim=(0, 2)) > 1e4
    first = top + (bottom - top) * int(changed.long().argmax()) / len(changed)
    assert first == pytest.approx(0.5, abs=0.03)


def test_pix2structs_questions_are_answered_apart_and_add_up(header_model):
    photos, questions = [noise_image(i, (300, 300)) for i in range(2)], ["what colour is it?", "how many dogs are there? two"]
    options = {"method": "evidence", "score": "log_prob", "n_steps": 64}
    together = mc.explain(header_model, photos, text="a brown dog", question=questions, **options)
    for photo, question, one in zip(photos, questions, together, strict=True):
        alone = mc.explain(header_model, photo, text="a brown dog", question=question, **options)
        torch.testing.assert_close(one.maps, alone.maps, rtol=1e-3, atol=1e-5)
        assert (one.completeness.abs() <= torch.maximum(0.01 * one.reliance.abs(), torch.tensor(0.02))).all()
        assert one.reliance.abs().max() > 0.02
    with pytest.raises(ValueError, match="pass question="):
        mc.explain(header_model, photos[0], text="a brown dog")


def test_pix2structs_font_may_be_missing(tmp_path, monkeypatch):
    from transformers.models.pix2struct import image_processing_pix2struct

    def hub():
        raise FileNotFoundError("no such file here")

    captioners.pix2struct(tmp_path, is_vqa=True)
    monkeypatch.setattr(image_processing_pix2struct, "hf_api", hub)
    with pytest.raises(OSError, match=r"hf download ybelkada/fonts Arial\.TTF"):
        mc.explain(mc.load(tmp_path, device="cpu"), noise_image(0, (64, 64)), question="what?")
