"""What only one Hugging Face family has."""

from __future__ import annotations

import pytest
from hf_models import captioners
from networks import noise_image

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
