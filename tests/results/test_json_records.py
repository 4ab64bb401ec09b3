"""JSON records of explanations and of failures."""

from __future__ import annotations

import json
from pathlib import Path

import networks
import pytest
from toys import hot_cell, toy_answer

import multimodal_cam as mc
from multimodal_cam.core.errors import message
from multimodal_cam.results.json_records import peak_on_photo, record


@pytest.fixture(scope="module")
def planted() -> mc.Explanation:
    """Its words speak about one quadrant each: red NW, green NE, blue SW, white SE."""
    return mc.explain(networks.planted_captioner(), networks.quadrant_image(), text="red green blue white")


def test_a_record_is_json_and_says_where_each_word_is(planted: mc.Explanation) -> None:
    found = json.loads(json.dumps(record("x.jpg", planted), allow_nan=False))
    assert found["text"] == "red green blue white"
    corners = [[round(value) for value in word["peak"]] for word in found["words"]]
    assert corners == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert {"model", "method", "score", "unit", "layer", "image", "whole", "format"} <= found.keys()
    assert "phrases" not in found


def test_numbers_agree_with_the_explanation(planted: mc.Explanation) -> None:
    word, part = record("x.jpg", planted)["words"][1], planted[1]
    assert word["score"] == pytest.approx(part.score, rel=1e-5)
    assert word["reliance"] == pytest.approx(part.reliance, rel=1e-4)
    assert word["probability"] == pytest.approx(2.718281828**part.log_prob, rel=1e-5)


def test_unknown_words_have_no_numbers() -> None:
    e = mc.explain(networks.small_captioner(), networks.noise_image(), text="a zebra", unknown="unk")
    found = json.loads(json.dumps(record("x.jpg", e), allow_nan=False))
    assert not found["words"][1]["known"]
    assert [found["words"][1][name] for name in ("score", "probability", "reliance", "peak")] == [None] * 4
    assert found["words"][0]["score"] is not None


def test_the_peak_of_an_empty_map_is_nowhere(planted: mc.Explanation) -> None:
    part = planted[0]
    object.__setattr__(part, "map", -part.map.abs())
    assert peak_on_photo(planted, part) is None


def test_a_record_of_an_answer_has_the_question_and_all_answers() -> None:
    e = toy_answer("blue", "Is the zorb blue?", score="contrast", counterfactual=True, instead_of={"blue": "red"})
    found = json.loads(json.dumps(record("x.jpg", e), allow_nan=False))
    assert found["question"] == "Is the zorb blue?"
    assert found["question_words"][2] == {"text": "zorb", "share": 0.333333, "known": False}
    assert [answer["text"] for answer in found["answers"]] == ["brown", "black", "white", "gold", "red", "blue"]
    assert found["answers"][1]["probability"] == 0.2
    assert found["answers"][1]["score"] == 2.5
    row, column = hot_cell(1)
    assert found["answers"][1]["peak"] == pytest.approx([(column + 0.5) / 14, (row + 0.5) / 14], abs=1e-4)
    assert found["instead_of"] == {"blue": "red"}
    assert found["counterfactual"] is True
    assert found["format"] == 1


def test_a_record_of_a_caption_knows_nothing_of_answers(planted: mc.Explanation) -> None:
    asked = {"question", "question_words", "answers", "instead_of", "counterfactual"}
    assert not asked & record("x.jpg", planted).keys()
    assert asked & record("x.jpg", toy_answer(question=None)).keys() == {"answers"}


def test_what_was_compared_is_saved(tmp_path: Path) -> None:
    contrast = mc.explain(networks.planted_captioner(), networks.quadrant_image(), text="red blue", instead_of={"Red": "green"})
    assert contrast.instead_of == {"red": "green"}
    assert mc.Explanation.load(contrast.save(tmp_path / "e")).instead_of == {"red": "green"}
    assert record("x.jpg", contrast)["instead_of"] == {"red": "green"}


def test_a_failure_record() -> None:
    found = record("x.jpg", mc.Failure("x.jpg", FileNotFoundError("there is\nno file")))
    assert found == {"format": 1, "image": "x.jpg", "error": "there is no file", "kind": "FileNotFoundError"}


def test_messages_are_one_line_without_key_errors_quotes() -> None:
    assert message(KeyError("no word 'dog'")) == "no word 'dog'"
    assert message(ValueError()) == "ValueError"
