"""Rule-based questions about photos, made from their captions, with the boxes of the answers.

After COCO-QA (Ren, Kiros, Zemel, "Exploring Models and Data for Image Question Answering", NeurIPS 2015): spaCy parses
the captions (`caption_grammar`), rules turn facts into questions (`question_rules`, `yes_no_claims`), and `thin` reduces frequent
answers.

Answers are lower case, one word or a fixed phrase ("ice cream", "black and white"). Nouns are singular, except
those that name one thing in the plural ("stairs", "shorts", "people"). Breeds become "dog", kids "child", guys "man"; actions are
-ing forms.
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
    """Yield questions about the photos of each split, in that order; deterministic for equal input and `seed`.

    Args:
        captions: Captions of each photo.
        splits: Photos of each split; thinning and yes/no balance apply to each split on its own.
        entities: Folder of Flickr30k Entities; without it no answer has boxes.
        seed: Seed of all draws.
        min_count: Rarer answers, and questions with a word that occurs in fewer captions (mostly misspellings), are dropped.
        tally: Counts unreadable records.
        progress: Called with the number of photos read.
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
    """Yield the questions that the captions of a photo answer, without yes/no; conflicting answers give way to the commonest."""
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
    """Thin frequent answers by COCO-QA's rule; the kept `questions` stay in their order.

    Questions are visited in random order. One whose answer has been kept `n` times is kept with probability 1 while `n <= K`,
    then with `exp(-(n - K) / K2)`. COCO-QA has K = 100 and K2 = 200 at 123,287 photos with more varied
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
    """Words that questions may contain."""
    counts = Counter(word for photo in photos for caption in photo.facts for word in set(_words(caption.text)))
    return QUESTION_WORDS.union(word for word, count in counts.items() if count >= min_count)


def _words(text: str) -> list[str]:
    return [word.removesuffix("'s") for word in split_words(text)]
