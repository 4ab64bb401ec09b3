"""Words of decoded text: flags, joined emoji and letters with their marks stay whole."""

import pytest

from multimodal_cam.adapters.hf.detokenization import split_words, word_spans


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog isn't 3.5.", ["a", "dog", "isn't", "3.5", "."]),
        ("🇫🇷🇩🇪 a", ["🇫🇷", "🇩🇪", "a"]),
        ("👨‍👩‍👧👍🏽 ❤️", ["👨‍👩‍👧", "👍🏽", "❤️"]),
        ("草地", ["草", "地"]),
        ("สุนัข", ["สุ", "นั", "ข"]),
        ("e\u0301tat", ["e\u0301tat"]),
    ],
)
def test_words(text, expected):
    assert [text[start:stop] for start, stop in split_words(text)] == expected


def test_thai_words_are_the_tokenizers():
    text = "สุนัขบนหญ้า"
    words = word_spans(text, [(0, 5), (5, 7), (7, 11)])
    assert [(word.text, word.start, word.stop) for word in words] == [("สุนัข", 0, 1), ("บน", 1, 2), ("หญ้า", 2, 3)]


def test_a_token_boundary_inside_a_letter_does_not_part_it():
    words = word_spans("นั🇫🇷", [(0, 1), (1, 2), (2, 3), (3, 4)])
    assert [(word.text, word.start, word.stop) for word in words] == [("นั", 0, 2), ("🇫🇷", 2, 4)]
