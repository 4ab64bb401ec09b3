"""Options that no decoder can use are refused in one line, whoever decodes."""

from __future__ import annotations

import math

import pytest

import multimodal_cam as mc
from multimodal_cam.core.decoding_options import check_decoding


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"beam": 0}, ValueError, r"beam: expected an integer from 1 \(greedy\) to 1000, got 0"),
        ({"beam": -1}, ValueError, "got -1"),
        ({"num_beams": 10**9}, ValueError, "num_beams: .* got 1000000000"),
        ({"beam": 2.5}, TypeError, "beam: expected an integer .* got 2.5"),
        ({"beam": True}, TypeError, "got True"),
        ({"beam": "3"}, TypeError, "got '3'"),
        ({"length_penalty": math.nan}, ValueError, "length_penalty: expected a number .* got nan"),
        ({"length_penalty": -math.inf}, ValueError, "got -inf"),
        ({"length_penalty": [1]}, TypeError, "expected a number, got"),
    ],
)
def test_what_no_search_can_use(options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_decoding(options)
    with pytest.raises(error, match=words):
        mc.explain(mc.load("nic", device="cpu"), "no photo is opened", **options)


@pytest.mark.parametrize(
    "options", [{}, {"beam": None}, {"beam": 1, "length_penalty": 0}, {"num_beams": 5, "length_penalty": -1.5}]
)
def test_what_searches_use(options: dict[str, object]) -> None:
    check_decoding(options)


@pytest.mark.parametrize("instead_of", [["cat"], 3, {"dog": 3}, {"dog": ["cat"]}, ("a", "b"), b"cat"])
def test_what_is_no_word_to_contrast_with(instead_of: object) -> None:
    with pytest.raises(TypeError, match="instead_of: expected a word, or {WORD: OTHER} with words, got"):
        mc.explain(mc.load("nic", device="cpu"), "no photo is opened", instead_of=instead_of)


@pytest.mark.parametrize("text", ["a \udcff dog", "\ud800"])
def test_bytes_that_are_no_text(text: str) -> None:
    with pytest.raises(ValueError, match="text: expected text, got bytes that are no UTF-8"):
        mc.explain(mc.load("nic", device="cpu"), "no photo is opened", text=text)
