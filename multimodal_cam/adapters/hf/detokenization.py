"""Words from subword tokens of any tokenizer: byte-level BPE, SentencePiece, WordPiece.

A tokenizer's own marks are not needed. Each prefix of the tokens is decoded; the characters by which the text grows are the
token's range. A character of several tokens (an emoji in byte-level BPE) belongs to all of them. Special tokens have no range.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence

from ...core.graphemes import split_graphemes
from ...core.spans import Span

Range = tuple[int, int]  # characters start to stop of a text
REPLACEMENT_CHARACTER = "\ufffd"  # decoders write it for an incomplete character
# marks that belong to a word between letters or digits (don't, T-shirt); full stop and comma between digits only (3.5, 1,000)
WORD_INNER_MARKS = "'’-‐.,"
SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese, Khmer: words are the tokenizer's
LONGEST_GRAPHEME = 64  # code points: far more than a family of emoji has


def token_ranges(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], special: Collection[int]
) -> tuple[str, list[Range | None]]:
    """Text of `ids`, and each token's range of characters, None for `special` ones; `decode` must leave nothing out."""
    text = ""
    found: list[Range | None] = []
    run: list[int] = []
    for i in ids:
        if i in special:
            found.append(None)
            if run:
                text, run = text + " ", []
            continue
        start = len(text)
        before = decode(run).rstrip(REPLACEMENT_CHARACTER) if run else ""
        run.append(i)
        after = decode(run).rstrip(REPLACEMENT_CHARACTER)
        text += after[len(before) :]
        found.append((start, len(text)))
    return text, found


def word_spans(text: str, tokens: Sequence[Range | None]) -> list[Span]:
    """Words of `text` as runs of tokens, given each token's range; words that share a token are one span."""
    spans: list[Span] = []
    for start, stop in split_words(text):
        own = [i for i, token in enumerate(tokens) if token and text[max(token[0], start) : min(token[1], stop)].strip()]
        if not own:
            continue
        first, last = own[0], own[-1] + 1
        while first and (before := tokens[first - 1]) and not text[slice(*before)].strip(" "):
            first -= 1  # tokens of the first character's first bytes, or of the space before it
        glued = start > 0 and not text[start - 1].isspace()
        if spans and first < spans[-1].stop:
            joined = spans.pop()
            both = joined.text + ("" if glued else " ") + text[start:stop]
            spans.append(Span(both, joined.start, max(last, joined.stop), glued=joined.glued))
        else:
            spans.append(Span(text[start:stop], first, last, glued=glued))
    return spans


def split_words(text: str) -> list[Range]:
    """Ranges of words: letters and digits together, contractions whole; marks, ideographs and Thai letters one by one."""
    found: list[Range] = []
    i = 0
    while i < len(text):
        if text[i].isspace():
            i += 1
            continue
        stop = i + 1
        if _letter(text[i]):
            while stop < len(text) and (_letter(text[stop]) or _joins(text, stop)):
                stop += 1
        elif not _ideograph(text[i]):  # a flag, a joined emoji, a Thai letter with its marks: whole
            stop = i + len(split_graphemes(text[i : i + LONGEST_GRAPHEME])[0])
        found.append((i, stop))
        i = stop
    return found


def _joins(text: str, i: int) -> bool:
    """Whether the mark at `i`, which follows a letter or digit, is inside of a word."""
    if text[i] not in WORD_INNER_MARKS or i + 1 >= len(text) or not _letter(text[i + 1]):
        return False
    return text[i] not in ".," or (text[i - 1].isdigit() and text[i + 1].isdigit())


def _letter(character: str) -> bool:
    """Whether a character is a letter, a combining mark or a digit; ideographs and kana, written without spaces, are not."""
    if _ideograph(character) or SPACELESS.match(character):
        return False
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def _ideograph(character: str) -> bool:
    code = ord(character)
    return 0x2E80 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF
