"""Vocabularies as people have them, read as one table: which id stands for which word."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# what vocabulary objects call their tables, those by id first: a table by word may hold several spellings of one id
BY_ID = ("get_itos", "itos", "idx2word", "id2word", "index_word", "idx_to_word", "id_to_word", "ix_to_word", "int2word", "i2w")
BY_WORD = ("get_stoi", "stoi", "word2idx", "word2id", "word_index", "word_to_idx", "word_to_id", "word_to_ix", "word2int", "w2i")
AS_LABELS = ("id2label", "label2id", "classes_", "classes", "o2i")  # configurations, scikit-learn, torchvision, fastai
INSIDE = ("vocab", "vocabulary")  # where an object keeps its vocabulary, as torchtext's old fields do
FORMS = (
    "a list whose place is the id, {word: id}, {id: word}, or an object with word2idx or idx2word, stoi or itos, get_itos, "
    "lookup_token"
)


@dataclass(frozen=True)
class WordTable:
    """The words of a vocabulary by their ids.

    Attributes:
        words: `id -> word`; ids may have gaps.
        numbered: Whether the vocabulary says the ids itself; those of a list are places.
    """

    words: Mapping[int, str]
    numbered: bool

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self.words, default=-1) + 1

    def ids(self) -> dict[str, int]:
        """`word -> id`; a mark such as `<pad>` that has several ids gets the first of them."""
        found: dict[str, int] = {}
        for i, word in self.words.items():
            found.setdefault(word, i)
        return found


def read_words(vocabulary: Any, what: str = "tokenizer") -> WordTable:
    """The table of `vocabulary`, in any of the `FORMS`; `what` is the argument's name in messages.

    Raises TypeError for something else, ValueError for ids that are none, or that stand for two words.
    """
    if isinstance(vocabulary, (str, bytes)):
        raise TypeError(f"{what}: expected {FORMS}; got the text {vocabulary[:40]!r}: read the file first")
    if isinstance(vocabulary, Mapping):
        held = next((vocabulary[name] for name in (*BY_ID, *BY_WORD) if _is_table(vocabulary.get(name))), None)
        if held is not None:  # as files keep both directions: {"word2idx": {...}, "idx2word": {...}}
            return WordTable(read_words(held, what).words, numbered=True)
        return WordTable(_by_id(vocabulary, what), numbered=True)
    if hasattr(vocabulary, "tolist"):  # an array, a column of a table
        vocabulary = vocabulary.tolist()
    if isinstance(vocabulary, Sequence):
        return WordTable(_listed(vocabulary, what), numbered=False)
    found = _table_inside(vocabulary)
    if found is None:
        raise TypeError(f"{what}: expected {FORMS}; got {type(vocabulary).__name__}")
    return WordTable(read_words(found, what).words, numbered=True)


def has_table(vocabulary: Any) -> bool:
    """Whether this is, or keeps, a table of words and ids."""
    return isinstance(vocabulary, (Mapping, Sequence)) or _table_inside(vocabulary) is not None


def _table_inside(vocabulary: Any) -> Any:
    """The list or dict that an object keeps, or makes; None where there is none."""
    for name in (*BY_ID, *BY_WORD, *AS_LABELS):
        found = getattr(vocabulary, name, None)
        if callable(found):
            found = found()
        if found is not None and not isinstance(found, (str, bytes)):
            return found
    if hasattr(vocabulary, "lookup_token") and hasattr(vocabulary, "__len__"):
        return [vocabulary.lookup_token(i) for i in range(len(vocabulary))]
    inside = next((found for name in INSIDE if (found := getattr(vocabulary, name, None)) is not None), None)
    if inside is None or inspect.isroutine(inside):  # a vocabulary may be called, too: vocab("dog")
        return None
    return inside if isinstance(inside, (Mapping, Sequence)) else _table_inside(inside)


def _is_table(value: Any) -> bool:
    return isinstance(value, (Mapping, Sequence)) and not isinstance(value, (str, bytes))


def _listed(words: Sequence[Any], what: str) -> dict[int, str]:
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"{what}: expected words in the list, got {word!r}; pairs are written as a dict: {{word: id}}")
    return _checked(enumerate(words), what)


def _by_id(table: Mapping[Any, Any], what: str) -> dict[int, str]:
    """`id -> word` of a dict that goes either way; the ids of JSON are texts."""
    if all(_is_id(value) for value in table.values()):
        if all(isinstance(key, str) for key in table):
            return _checked(((int(i), word) for word, i in table.items()), what)
    elif all(isinstance(value, str) for value in table.values()) and all(_is_id(key, text=True) for key in table):
        return _checked(((int(i), word) for i, word in table.items()), what)
    key, value = next(iter(table.items()))
    raise TypeError(f"{what}: expected {{word: id}} or {{id: word}} with whole numbers as ids, got {{{key!r}: {value!r}, ...}}")


def _is_id(value: Any, *, text: bool = False) -> bool:
    """Whether this is a whole number, of any library; of a file also `"7"`."""
    if isinstance(value, str):
        return text and value.strip().lstrip("-").isdecimal()
    try:
        return not isinstance(value, bool) and int(value) == value
    except (TypeError, ValueError, RuntimeError):
        return False


def _checked(pairs: Iterable[tuple[int, str]], what: str) -> dict[int, str]:
    """The table in the order of the ids. Raises ValueError for ids below 0, for an id of two words and a word of two ids."""
    words: dict[int, str] = {}
    ids: dict[str, int] = {}
    for i, word in pairs:
        if i < 0:
            raise ValueError(f"{what}: {word!r} has the id {i}, expected 0 or more")
        if i in words:
            raise ValueError(f"{what}: {words[i]!r} and {word!r} have the same id, {i}")
        if word in ids and not _is_mark(word):
            raise ValueError(f"{what}: {word!r} has two ids, {ids[word]} and {i}")
        words[i] = word
        ids.setdefault(word, i)
    if not words:
        raise ValueError(f"{what}: expected words, the vocabulary is empty")
    return dict(sorted(words.items()))


def _is_mark(word: str) -> bool:
    """Whether this is no word: blank, or a mark such as `<pad>` and `[unused]`."""
    return not word.strip() or (word[0], word[-1]) in {("<", ">"), ("[", "]")}
