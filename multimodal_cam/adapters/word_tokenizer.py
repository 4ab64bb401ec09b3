"""Tokenizers of whole words: a text's words found in a vocabulary, whatever its form, case and punctuation."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..core.spans import UNSPACED, Span
from .contract import Unknown, refuse_unknown
from .inputs import PAD
from .subword_tokenizer import PretrainedTokenizer, subword_tokenizer
from .word_table import WordTable, read_words

DROPPED = ',.?!;:"“”„()…¿¡。，、？！；：「」『』（）'  # punctuation that is left out where the vocabulary lacks it
GLUED = re.compile(r"[,.?!;:)…。，、？！；：」』）]|n['’]t|['’]\w+")  # written without a space before them
# what a text is made of: a character of a script without spaces, a word ("is" of "isn't"), "n't", any other character
PIECE = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+?(?=n['’]t\b)|n['’]t\b|[^\W{UNSPACED}]+|\S")
CHUNK = re.compile(rf"[^\s{re.escape(DROPPED)}{UNSPACED}]+")  # what is a word, whether the vocabulary has it or not
UNKNOWN_COST, DROPPED_COST = 1000.0, 0.1  # beside 1 for a word of the vocabulary
LONGEST = 24  # pieces that a word of a vocabulary may have


class Tokenizer(Protocol):
    """Text <-> ids. `Words` is one; anything with these methods is another."""

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]: ...
    def tokens(self, ids: Sequence[int]) -> list[str]: ...
    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]: ...


@dataclass(frozen=True)
class _Found:
    """A word of a text from character `start` to `stop`, with its id; without one if it is unknown."""

    text: str
    start: int
    stop: int
    id: int | None = None


class Words:
    """A tokenizer of whole words. A text is split so that as few words as can be are unknown.

    A word is looked up as it is written, then in lower case, then in any case that only one word of the vocabulary has.
    Punctuation that the vocabulary has is kept ("u.s.", "3.5", "."), other punctuation is left out. Scripts without spaces
    (Chinese, Thai) are split as the vocabulary allows.

    Args:
        vocabulary: A list whose place is the id, `{word: id}`, `{id: word}`, or a vocabulary object (see `FORMS`).
        unk: Id of the unknown word, if there is one.
    """

    def __init__(self, vocabulary: Any, unk: int | None = None) -> None:
        self.table: WordTable = read_words(vocabulary)
        self.unk = unk
        self.words, self.ids = self.table.words, self.table.ids()
        folded: dict[str, list[int]] = {}
        for word, i in self.ids.items():
            folded.setdefault(_plain(word).casefold(), []).append(i)
        self._folded = {word: ids[0] for word, ids in folded.items() if len(ids) == 1}
        self._longest = min(LONGEST, max(len(PIECE.findall(word)) for word in self.ids))

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        found = self._split(text)
        if unknown == "error" or self.unk is None:
            refuse_unknown((one.text for one in found if one.id is None), self.ids)
        return [self._id(one) for one in found]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [self.words.get(i, f"<id {i}>") for i in ids]

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        words = self.tokens(ids)
        if text is not None:  # an unknown word in the user's wording
            found = self._split(text)
            words = [one.text if one.id is None else word for one, word in zip(found, words, strict=True)]
        pairs = zip(["", *words], words, ids)  # noqa: B905 (the last word is before none)
        return [Span(w, k, k + 1, known=i != self.unk, glued=_is_glued(before, w)) for k, (before, w, i) in enumerate(pairs)]

    def find(self, word: str) -> int | None:
        """Id of a word as it is written, else in lower case, else in the one case that the vocabulary has."""
        for form in (word, _plain(word), _plain(word).lower()):
            if form in self.ids:
                return self.ids[form]
        return self._folded.get(_plain(word).casefold())

    def _id(self, found: _Found) -> int:
        if found.id is not None:
            return found.id
        return PAD if self.unk is None else self.unk

    def _split(self, text: str) -> list[_Found]:
        """The words of a text: the cheapest way through its pieces."""
        pieces = [match.span() for match in PIECE.finditer(text)]
        chunks = {match.start(): match.end() for match in CHUNK.finditer(text)}
        ways: list[tuple[float, list[_Found]]] = [(0.0, [])]  # the cheapest one to each piece
        ways += [(float("inf"), [])] * len(pieces)
        for i, (start, _) in enumerate(pieces):
            cost, way = ways[i]
            for j in range(i, len(pieces)):
                stop = pieces[j][1]
                if j - i >= self._longest and stop > chunks.get(start, 0):
                    break
                for more, found in self._readings(text, start, stop, chunks, single=i == j):
                    if cost + more < ways[j + 1][0]:
                        ways[j + 1] = (cost + more, [*way, *found])
        return _merged(text, ways[-1][1])

    def _readings(
        self, text: str, start: int, stop: int, chunks: dict[int, int], single: bool
    ) -> Iterator[tuple[float, list[_Found]]]:
        """What the characters from `start` to `stop` may be, each with its cost: a word, nothing, an unknown word."""
        word = text[start:stop]
        i = self.find(word)
        if i is not None:
            yield 1.0, [_Found(word, start, stop, i)]
        elif single and word in DROPPED:
            yield DROPPED_COST, []
        elif chunks.get(start) == stop or (single and _is_unspaced(word)):
            yield UNKNOWN_COST, [_Found(word, start, stop)]


def _merged(text: str, words: Sequence[_Found]) -> list[_Found]:
    """The words, with unknown ones that follow each other without a space as one."""
    merged: list[_Found] = []
    for word in words:
        if merged and word.id is None and merged[-1].id is None and merged[-1].stop == word.start:
            word = _Found(text[merged[-1].start : word.stop], merged.pop().start, word.stop)
        merged.append(word)
    return merged


def _is_unspaced(text: str) -> bool:
    return re.fullmatch(f"[{UNSPACED}]+", text) is not None


def _is_glued(before: str, word: str) -> bool:
    """Whether `word` is written without a space after the word `before`."""
    return GLUED.fullmatch(word) is not None or (_is_unspaced(before[-1:]) and _is_unspaced(word[:1]))


def _plain(word: str) -> str:
    """The word with one space between its parts and straight apostrophes."""
    return " ".join(word.replace("’", "'").split())


def tokenizer_of(vocabulary: Any, unk: int | None, *, special_tokens: bool = False) -> Tokenizer:
    """Tokenizer from a tokenizer (ours, Hugging Face's, any with `encode` and `decode`), or from a vocabulary of words.

    `special_tokens`: Hugging Face's puts its start and end tokens around a text.

    Raises TypeError or ValueError for a vocabulary that cannot be read.
    """
    if all(callable(getattr(vocabulary, name, None)) for name in ("encode", "tokens", "spans")):
        return vocabulary  # type: ignore[no-any-return]
    return subword_tokenizer(vocabulary, special_tokens=special_tokens) or Words(vocabulary, unk)


def check_size(tokenizer: Tokenizer, size: int, marks: Sequence[int | None]) -> None:
    """Raises ValueError if a vocabulary is not that of `size` logits; `marks` are ids that need no word.

    A list must name every logit, for it may be shifted; a numbered vocabulary may leave some out, which is said.
    """
    if isinstance(tokenizer, PretrainedTokenizer) and tokenizer.size > size:
        raise ValueError(
            f"tokenizer: its ids go up to {tokenizer.size - 1}, the network gives {size} logits: pass the tokenizer that it was "
            "trained with"
        )
    if not isinstance(tokenizer, Words):
        return
    table = tokenizer.table
    if table.size > size:
        raise ValueError(
            f"tokenizer: the vocabulary has the ids {min(table.words)} to {table.size - 1}, but the network's {size} logits are "
            f"those of the ids 0 to {size - 1}: {table.words[table.size - 1]!r} has none; pass the vocabulary that the "
            f"network was trained with{', its ids counted from 0' if table.size - min(table.words) == size else ''}"
        )
    unnamed = [i for i in range(table.size, size) if i not in (*marks, tokenizer.unk)]
    if not unnamed:
        return
    line = f"tokenizer: {len(table.words)} words for {size} logits, the ids {unnamed[0]} to {unnamed[-1]} have no word"
    if not table.numbered:
        raise ValueError(f"{line}: list all words in the order of the logits, or number them: {{word: id}}")
    warnings.warn(f"{line} and are never said", UserWarning, stacklevel=2)
