"""Characters as a reader counts them."""

import pytest

from multimodal_cam.core.graphemes import split_graphemes, text_width


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog", ["d", "o", "g"]),
        ("e\u0301a", ["e\u0301", "a"]),
        ("🇫🇷🇩🇪a", ["🇫🇷", "🇩🇪", "a"]),
        ("🇫🇷🇩", ["🇫🇷", "🇩"]),
        ("👨‍👩‍👧👍🏽", ["👨‍👩‍👧", "👍🏽"]),
        ("❤️ 1️⃣", ["❤️", " ", "1️⃣"]),
        ("สุนัข", ["สุ", "นั", "ข"]),
        ("กำ", ["กำ"]),
        ("狗", ["狗"]),
        ("a\u200d b", ["a\u200d", " ", "b"]),
        ("", []),
    ],
)
def test_characters(text, expected):
    assert split_graphemes(text) == expected


def test_width():
    assert text_width("dog") == 3
    assert text_width("狗 e\u0301🇫🇷👨‍👩‍👧") == 2 + 1 + 1 + 2 + 2
