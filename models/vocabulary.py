"""Words of a captioner and their ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

SPECIALS = ("<eos>", "<bos>", "<unk>")
EOS, BOS, UNK = range(len(SPECIALS))
_SPELLINGS = {"color": "colour", "colors": "colours", "colored": "coloured", "gray": "grey"}
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def split_words(text: str) -> list[str]:
    """Lower-cased words of `text`, punctuation dropped, hyphens and apostrophes inside a word kept."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def split_question(text: str) -> list[str]:
    """The words of a question, one spelling for those that have two: as the questions are that `data make-questions` makes."""
    return [_SPELLINGS.get(word, word) for word in split_words(text)]


@dataclass(frozen=True)
class Vocabulary:
    """`words[i]` is the word with id `i`; the first three are `<eos>`, `<bos>`, `<unk>`."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if tuple(self.words[: len(SPECIALS)]) != SPECIALS:
            raise ValueError(f"a vocabulary starts with {SPECIALS}, this one with {self.words[:3]}")

    @classmethod
    def from_captions(cls, captions: Iterable[str], min_count: int = 5) -> Vocabulary:
        """Words seen at least `min_count` times, the most frequent first, ties in alphabetical order."""
        counts = Counter(word for caption in captions for word in split_words(caption))
        kept = sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        return cls((*SPECIALS, *kept))

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, words: Iterable[str]) -> list[int]:
        """Ids of `words`; a word that is not known gets the id of `<unk>`."""
        return [self.ids.get(word, UNK) for word in words]

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [self.words[i] for i in ids]
