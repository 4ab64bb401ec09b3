"""Vocabularies in the forms that people have: one table, or one clear line."""

import types
from collections import defaultdict

import numpy as np
import pytest
import torch

from multimodal_cam.adapters.word_table import read_words

TABLE = {1: "a", 2: "Dog", 5: "u.s."}


class Torchtext:
    """As torchtext.vocab.Vocab: methods, no attributes."""

    words = ("a", "Dog", "u.s.")

    def __len__(self):
        return 3

    def lookup_token(self, i):
        return self.words[i]


class TorchtextMethods(Torchtext):
    lookup_token = None

    def get_itos(self):
        return list(self.words)

    def get_stoi(self):
        return {"other": 0}


def legacy_field():
    stoi = defaultdict(lambda: 0, {"a": 0, "Dog": 1, "u.s.": 2, "dog": 1})
    return types.SimpleNamespace(vocab=types.SimpleNamespace(itos=["a", "Dog", "u.s."], stoi=stoi), lower=True)


class Called:
    """A vocabulary as Show-and-Tell tutorials write it: `vocab("dog")` is an id."""

    def __init__(self):
        self.word2idx = {word: i for i, word in TABLE.items()}

    def __call__(self, word):
        return self.word2idx[word]


@pytest.mark.parametrize(
    "vocabulary",
    [
        TABLE,
        {str(i): word for i, word in TABLE.items()},
        {word: i for i, word in TABLE.items()},
        {word: torch.tensor(i) for i, word in TABLE.items()},
        {word: np.int64(i) for i, word in TABLE.items()},
        {word: float(i) for i, word in TABLE.items()},
        types.SimpleNamespace(word2idx={word: i for i, word in TABLE.items()}, idx=6),
        types.SimpleNamespace(word2idx={"other": 1}, idx2word=TABLE),
        types.SimpleNamespace(index_word=TABLE, word_index={word: i for i, word in TABLE.items()}),
        types.SimpleNamespace(vocab={word: i for i, word in TABLE.items()}),
        {"word2idx": {word: i for i, word in TABLE.items()}, "idx2word": {str(i): word for i, word in TABLE.items()}},
        types.SimpleNamespace(vocab=Called()),
    ],
)
def test_every_numbered_form_is_the_same_table(vocabulary):
    table = read_words(vocabulary)
    assert (dict(table.words), table.numbered, table.size) == (TABLE, True, 6)
    assert table.ids() == {"a": 1, "Dog": 2, "u.s.": 5}


@pytest.mark.parametrize(
    ("vocabulary", "numbered"),
    [
        (["a", "Dog", "u.s."], False),
        (("a", "Dog", "u.s."), False),
        (np.array(["a", "Dog", "u.s."]), False),
        (Torchtext(), True),
        (TorchtextMethods(), True),
        (legacy_field(), True),
        (types.SimpleNamespace(id2label={0: "a", 1: "Dog", 2: "u.s."}), True),
    ],
)
def test_lists_and_objects_that_count_from_0(vocabulary, numbered):
    table = read_words(vocabulary)
    assert (dict(table.words), table.numbered) == ({0: "a", 1: "Dog", 2: "u.s."}, numbered)


def test_words_that_are_numbers_stay_words():
    assert dict(read_words({"1": 7, "2": 8}).words) == {7: "1", 8: "2"}


def test_marks_may_repeat_and_words_may_not():
    assert read_words(["<pad>", "a", "<pad>", ""]).ids() == {"<pad>": 0, "a": 1, "": 3}
    with pytest.raises(ValueError, match="answers: 'dog' has two ids, 0 and 2"):
        read_words(["dog", "a", "dog"], "answers")


@pytest.mark.parametrize(
    ("vocabulary", "error", "match"),
    [
        ("vocab.json", TypeError, "got the text 'vocab.json': read the file first"),
        ({"a", "dog"}, TypeError, "got set"),
        (7, TypeError, "got int"),
        ([("a", 0)], TypeError, r"expected words in the list, got \('a', 0\)"),
        ({"a": 0.5}, TypeError, "whole numbers as ids, got {'a': 0.5"),
        ({"a": None}, TypeError, "whole numbers as ids, got {'a': None"),
        ({"a": "dog"}, TypeError, "whole numbers as ids, got {'a': 'dog'"),
        ({"a": 0, 1: "dog"}, TypeError, "whole numbers as ids"),
        ({"a": 3, "dog": 3}, ValueError, "'a' and 'dog' have the same id, 3"),
        ({"a": -1}, ValueError, "'a' has the id -1, expected 0 or more"),
        ([], ValueError, "the vocabulary is empty"),
        ({}, ValueError, "the vocabulary is empty"),
    ],
)
def test_what_is_no_vocabulary_is_said(vocabulary, error, match):
    with pytest.raises(error, match=f"^tokenizer: .*{match}"):
        read_words(vocabulary)
