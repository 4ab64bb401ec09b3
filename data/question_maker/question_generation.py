"""Questions about photos, made from their captions by rule, every answer with its place.

After COCO-QA (Ren, Kiros, Zemel, "Exploring Models and Data for Image Question Answering", NeurIPS 2015): spaCy parses
(`caption_grammar`), rules ask (`question_rules`; `yes_no_claims` for yes and no), frequent answers are thinned (`thin`).

Answers are lower case, one word or a fixed phrase ("ice cream", "black and white"). Nouns are in the singular, except those said
of one thing in the plural ("stairs", "shorts", "people"); breeds are "dog", kids "child", guys "man"; actions are -ing forms.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path

from ...models.vocabulary import split_words
from ..readers.question_record import Question
from .captioned_photos import CaptionedPhoto, SkipCounter, read_photos
from .question_rules import RULES, Naming
from .yes_no_claims import yes_or_no

QUESTION_WORDS = frozenset(["what", "who", "where", "how", "many", "colour", "is", "are", "there", "doing", "in", "the", "photo"])


def make_questions(
    captions: Mapping[str, Sequence[str]],
    splits: Mapping[str, Sequence[str]],
    entities: Path | None = None,
    *,
    seed: int = 0,
    min_count: int = 5,
    tally: SkipCounter | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Question]:
    """The questions about the photos that each split names, in that order; the same for the same input and `seed`.

    Without `entities` (a folder of Flickr30k Entities) no answer has boxes. Left out are answers given fewer than
    `min_count` times in all, and questions with a word in fewer captions: most are misspelt. Each split is thinned and its yes
    and no balanced for itself. `tally` counts what cannot be read; `progress` takes the number of photos read.
    """
    names = dict.fromkeys(name for listed in splits.values() for name in listed)
    photos: dict[str, CaptionedPhoto] = {}
    for photo in read_photos(names, captions, entities, tally or SkipCounter()):
        photos[photo.image] = photo
        progress(len(photos))
    known = _known(photos.values(), min_count)
    asked: list[Question] = []
    for split, listed in splits.items():
        rng = random.Random(f"{seed} {split}")
        here = [photos[name] for name in dict.fromkeys(listed) if name in photos]
        found = thin([question for photo in here for question in ask(photo)], len(here), rng)
        found += yes_or_no(here, rng, min_count)
        place = {photo.image: i for i, photo in enumerate(here)}
        found.sort(key=lambda question: place[question.image])
        asked += [replace(question, split=split) for question in found if known.issuperset(_words(question.question))]
    counts = Counter(question.answer for question in asked)
    yield from (question for question in asked if counts[question.answer] >= min_count)


def ask(photo: CaptionedPhoto) -> Iterator[Question]:
    """The questions that the captions of a photo answer, yes and no aside; of several answers the most frequent."""
    naming = Naming(photo.facts)
    said: dict[str, list[Question]] = defaultdict(list)
    for number, caption in enumerate(photo.facts):
        for asked in (asked for rule in RULES for asked in rule(caption, naming) if asked.fair):
            question, answer, kind, things = asked
            said[question].append(Question(photo.image, question, answer, kind, caption.text, photo.boxes(number, *things)))
    for same in said.values():
        answer, _ = Counter(each.answer for each in same).most_common(1)[0]
        yield next(each for each in same if each.answer == answer)


def thin(questions: Sequence[Question], photos: int, rng: random.Random) -> list[Question]:
    """COCO-QA's rule against answers that are everywhere: some of `questions`, in their order.

    They are taken up in random order. The next with an answer that `n` taken ones have is taken with probability 1 while
    `n <= K`, then `exp(-(n - K) / K2)`. COCO-QA has K = 100 and K2 = 200 at 123,287 photos with more varied
    captions; here K = `photos` / 12 (at least 20) and K2 = 2 K, so that splits of different size keep the same mixture.
    """
    k = max(20, photos / 12)
    taken: Counter[str] = Counter()
    kept = set()
    for i in rng.sample(range(len(questions)), len(questions)):
        answer = questions[i].answer
        if rng.random() < exp(-max(taken[answer] - k, 0) / (2 * k)):
            taken[answer] += 1
            kept.add(i)
    return [question for i, question in enumerate(questions) if i in kept]


def _known(photos: Iterable[CaptionedPhoto], min_count: int) -> frozenset[str]:
    """The words that a question may hold."""
    counts = Counter(word for photo in photos for caption in photo.facts for word in set(_words(caption.text)))
    return QUESTION_WORDS.union(word for word, count in counts.items() if count >= min_count)


def _words(text: str) -> list[str]:
    return [word.removesuffix("'s") for word in split_words(text)]
