"""Nouns of a model's captions, and whether people's captions of the same photo name what they name.

A noun that no human caption names, by itself, in another number or by a synonym (`noun_synonyms`), counts as hallucinated, as in
CHAIR (Rohrbach et al., EMNLP 2018), which has the objects of COCO where this has all nouns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.spans import parse_all
from ..models.vocabulary import split_words
from .noun_synonyms import is_named

NOUNS = ("NOUN", "PROPN")


@dataclass(frozen=True)
class HumanNouns:
    """Forms of the nouns of each photo's human captions, as written and as lemmas, and the words that are mostly nouns there."""

    by_photo: Mapping[str, frozenset[str]]
    usual: frozenset[str]


@dataclass(frozen=True)
class JudgedNoun:
    """Word `index` of the caption of photo `image`, its `lemma`, and whether no human caption names it."""

    image: str
    index: int
    word: str
    lemma: str
    hallucinated: bool


def judge_nouns(said: Mapping[str, Sequence[str]], human: HumanNouns) -> list[JudgedNoun]:
    """All nouns of the captions `said`, words by photo name, judged by the human captions of each photo.

    Raises ValueError for a photo without human captions: nothing could be said of its nouns.
    """
    missing = [image for image in said if image not in human.by_photo]
    if missing:
        raise ValueError(f"{len(missing)} of {len(said)} photos have no human caption, the first: {missing[0]}")
    return [
        JudgedNoun(image, token.i, token.text, token.lemma_.lower(), not is_named(_forms(token), human.by_photo[image]))
        for doc, image in parse_all((words, image) for image, words in said.items())
        for token in doc
        if token.pos_ in NOUNS
    ]


def human_nouns(references: Mapping[str, Sequence[str]]) -> HumanNouns:
    """Nouns of the human captions `references`, by photo name; photos without a caption are left out.

    Words that people have as another part of speech ("surfing") are no names of things.
    """
    found: dict[str, set[str]] = {image: set() for image, captions in references.items() if captions}
    as_noun, in_all = Counter[str](), Counter[str]()
    texts = ((split_words(text), image) for image, captions in references.items() for text in captions)
    for doc, image in parse_all((words, image) for words, image in texts if words):
        nouns = [token for token in doc if token.pos_ in NOUNS]
        found[image].update(form for token in nouns for form in _forms(token))
        as_noun.update(token.text.lower() for token in nouns)
        in_all.update(token.text.lower() for token in doc)
    usual = frozenset(word for word, count in as_noun.items() if 2 * count > in_all[word])
    return HumanNouns({image: frozenset(forms) for image, forms in found.items()}, usual)


def _forms(token: Any) -> tuple[str, str]:
    return token.text.lower(), token.lemma_.lower()
