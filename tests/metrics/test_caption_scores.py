"""metrics/caption_scores.py: known values, silence, and words for what is wrong."""

from __future__ import annotations

import math
import sys

import pytest

from multimodal_cam.metrics.caption_scores import caption_scores

REFERENCES = {
    "1.jpg": ["a brown dog runs on grass", "the dog is running"],
    "2.jpg": ["two men play football in a park", "men playing"],
    "3.jpg": ["a red car", "the car is parked"],
}


def test_a_reference_scores_one_and_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocoevalcap")
    references = {name: texts[:1] for name, texts in REFERENCES.items()}
    scores = caption_scores({name: texts[0] for name, texts in references.items()}, references)
    assert list(scores) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr"]
    assert all(scores[f"BLEU-{n}"] == pytest.approx(1, abs=1e-6) for n in range(1, 5))
    assert capsys.readouterr().out == ""


def test_bleu_by_hand() -> None:
    """Words 4 of 5 and pairs 2 of 4 are in the reference; one word short of its 6: exp(1 - 6 / 5)."""
    pytest.importorskip("pycocoevalcap")
    scores = caption_scores({"1.jpg": "a brown dog on sand"}, {"1.jpg": ["a brown dog runs on grass"]})
    brevity = math.exp(1 - 6 / 5)
    assert scores["BLEU-1"] == pytest.approx(brevity * 4 / 5, rel=1e-6)
    assert scores["BLEU-2"] == pytest.approx(brevity * math.sqrt(4 / 5 * 2 / 4), rel=1e-6)


def test_cider_by_hand() -> None:
    """One-word captions, each word in one image: cosine 1 for single words, no longer n-grams: 10 / 4 for a
    hit."""
    pytest.importorskip("pycocoevalcap")
    references = {"1.jpg": ["dog"], "2.jpg": ["cat"]}
    assert caption_scores({"1.jpg": "dog", "2.jpg": "dog"}, references)["CIDEr"] == pytest.approx(10 / 4 / 2)


def test_an_image_without_counterpart_is_named() -> None:
    with pytest.raises(ValueError, match=r"2 images have only .* the first: 2\.jpg"):
        caption_scores({"1.jpg": "a dog"}, REFERENCES)


@pytest.mark.parametrize("nothing", [[], "a dog"])
def test_every_image_needs_a_list_of_references(nothing: list[str] | str) -> None:
    with pytest.raises(ValueError, match=r"a list of references .* none for 1\.jpg"):
        caption_scores({"1.jpg": "a dog"}, {"1.jpg": nothing})


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    with pytest.raises(ImportError, match=r"pip install .multimodal-cam\[train\]"):
        caption_scores({"1.jpg": "a dog"}, {"1.jpg": ["a dog"]})
