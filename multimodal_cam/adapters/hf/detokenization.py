"""Words from subwords, whatever the tokenizer: byte-level BPE, SentencePiece, WordPiece.

Nothing is known of a tokenizer's marks. Each prefix of the tokens is decoded; by how much the text grows is the token's share
of it. A character of several tokens (an emoji in byte-level BPE) belongs to all of them. Special tokens have no share.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Sequence

from ...core.spans import Span

Range = tuple[int, int]  # characters start to stop of a text
REPLACEMENT_CHARACTER = "\ufffd"  # what a decoder writes for half a character
WORD_INNER_MARKS = (
    "'’-‐.,"  # between letters or digits these belong to the word: don't, T-shirt; between digits also 3.5 and 1,000
)
MODIFIERS = "\u200d\ufe0f\ufe0e" + "".join(map(chr, range(0x1F3FB, 0x1F400)))


def token_ranges(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], special: Collection[int]
) -> tuple[str, list[Range | None]]:
    """The text of `ids` and each token's range of it, None for special ones; `decode` leaves nothing out."""
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
    """The words of `text` as runs of tokens; words that share a token are one span."""
    spans: list[Span] = []
    for start, stop in split_words(text):
        own = [i for i, token in enumerate(tokens) if token and text[max(token[0], start) : min(token[1], stop)].strip()]
        if not own:
            continue
        first, last = own[0], own[-1] + 1
        while first and (before := tokens[first - 1]) and not text[slice(*before)].strip(" "):
            first -= 1  # the first bytes of its first character, or the space before it
        glued = start > 0 and not text[start - 1].isspace()
        if spans and first < spans[-1].stop:
            joined = spans.pop()
            both = joined.text + ("" if glued else " ") + text[start:stop]
            spans.append(Span(both, joined.start, max(last, joined.stop), glued=joined.glued))
        else:
            spans.append(Span(text[start:stop], first, last, glued=glued))
    return spans


def split_words(text: str) -> list[Range]:
    """Words as a person reads them: letters and digits together, contractions whole, punctuation and ideographs one by one."""
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
        elif not _ideograph(text[i]):
            while stop < len(text) and (text[stop] in MODIFIERS or text[stop - 1] == "\u200d"):
                stop += 1
        found.append((i, stop))
        i = stop
    return found


def _joins(text: str, i: int) -> bool:
    if text[i] not in WORD_INNER_MARKS or i + 1 >= len(text) or not _letter(text[i + 1]):
        return False
    return text[i] not in ".," or (text[i - 1].isdigit() and text[i + 1].isdigit())


def _letter(character: str) -> bool:
    """Letters, their marks, digits; no ideographs and kana, which are written without spaces."""
    return (character == "_" or unicodedata.category(character)[0] in "LMN") and not _ideograph(character)


def _ideograph(character: str) -> bool:
    code = ord(character)
    return 0x2E80 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF
