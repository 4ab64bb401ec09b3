"""Characters as a reader counts them: a letter with its marks, a flag, a joined emoji are one each."""

from __future__ import annotations

import re
import unicodedata

JOINER = "\u200d"
VARIATIONS = "\ufe0e\ufe0f"  # as a sign of the text, as an emoji
_FLAG_PART = "\U0001f1e6-\U0001f1ff"
_SKIN = "\U0001f3fb-\U0001f3ff"
_TAG = "\U000e0020-\U000e007f"  # England's flag and others
# spacing vowels of Thai and Lao that belong to the letter before them
_AFTER = "\u0e33\u0eb3"
_FLAG = re.compile(f"[{_FLAG_PART}]{{2}}")
_EXTENSION = re.compile(f"[{VARIATIONS}{_SKIN}{_TAG}{_AFTER}\u20e3]")


def split_graphemes(text: str) -> list[str]:
    """The characters of `text` in the order in which they are stored; joined they are the text."""
    found: list[str] = []
    i = 0
    while i < len(text):
        flag = _FLAG.match(text, i)
        stop = flag.end() if flag else i + 1
        while stop < len(text) and _continues(text, stop):
            stop += 1
        found.append(text[i:stop])
        i = stop
    return found


def _continues(text: str, i: int) -> bool:
    """Whether the code point at `i` belongs to the one before it."""
    if text[i] == JOINER:
        return not text[i - 1].isspace()
    if text[i - 1] == JOINER:
        return not text[i].isspace()
    return unicodedata.category(text[i])[0] == "M" or _EXTENSION.match(text, i) is not None


def text_width(text: str) -> int:
    """Columns that a text takes: two for an ideograph or an emoji, one for another character with its marks."""
    return sum(2 if _is_wide(grapheme) else 1 for grapheme in split_graphemes(text))


def _is_wide(grapheme: str) -> bool:
    return unicodedata.east_asian_width(grapheme[0]) in "WF" or _FLAG.match(grapheme) is not None
