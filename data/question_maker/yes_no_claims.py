"""Balanced yes/no questions: each question gets as many photos with the answer yes as with the answer no.

A model that sees only the question is therefore right half of the time. The photos for no are hard negatives: the claimed thing
often occurs beside the things in the photo, but no caption mentions it, nor anything that the word could mean.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..readers.question_record import Question
from . import lexicon as lex
from .caption_grammar import Thing
from .captioned_photos import CaptionedPhoto
from .question_rules import Naming, akin, are, colour

TYPE = "yes/no"
PHOTOS_PER_CLAIM = 80  # a question is asked at most once in so many photos, for each of its two answers
SHORTLIST = 6  # the photos for no are drawn from the likeliest candidates, this many times as many as needed


@dataclass
class Claim:
    """Photos of one question: those answered yes, and those answered no with the weight of a yes there."""

    yes: dict[str, Question] = field(default_factory=dict)
    no: dict[str, tuple[float, Question]] = field(default_factory=dict)


class Claims(dict[str, Claim]):
    """Maps each question to its photos by answer; a photo that would have both answers gets yes."""

    def __missing__(self, question: str) -> Claim:
        return self.setdefault(question, Claim())

    def holds(self, question: str, photo: CaptionedPhoto, number: int, *things: Thing) -> None:
        boxes = photo.boxes(number, *things)
        said = Question(photo.image, question, "yes", TYPE, photo.facts[number].text, boxes)
        self[question].yes.setdefault(photo.image, said)
        self[question].no.pop(photo.image, None)

    def fails(self, question: str, photo: CaptionedPhoto, number: int, likely: float) -> None:
        if photo.image not in self[question].yes:
            said = Question(photo.image, question, "no", TYPE, photo.facts[number].text)
            self[question].no[photo.image] = likely, said


def yes_or_no(photos: Sequence[CaptionedPhoto], rng: random.Random, min_count: int) -> Iterator[Question]:
    """Yes/no questions about `photos`, each as often with yes as with no."""
    claims = Claims()
    _there(photos, claims, min_count)
    _doing(photos, claims)
    _coloured(photos, claims)
    most = max(20, len(photos) // PHOTOS_PER_CLAIM)
    for question in sorted(claims):
        claim = claims[question]
        count = min(len(claim.yes), len(claim.no), most)
        yield from rng.sample(list(claim.yes.values()), count)
        yield from _likely(list(claim.no.values()), count, rng)


def _likely(weighted: Sequence[tuple[float, Question]], count: int, rng: random.Random) -> list[Question]:
    """Draws `count` of the heaviest candidates without replacement, by weight (Efraimidis and Spirakis, 2006)."""
    best = sorted(weighted, key=lambda each: -each[0])[: SHORTLIST * count]
    drawn = sorted(((rng.random() ** (1 / weight), i) for i, (weight, _) in enumerate(best)), reverse=True)
    return [best[i][1] for _, i in drawn[:count]]


def _there(photos: Sequence[CaptionedPhoto], claims: Claims, min_count: int) -> None:
    """Claims "is there a ball in the photo?". The weight of a no: how often the captions' nouns occur beside a ball, summed."""
    told = [{thing.noun: None for caption in photo.facts for thing in caption.things} for photo in photos]
    count = Counter(noun for nouns in told for noun in nouns)
    beside: dict[str, Counter[str]] = defaultdict(Counter)
    for nouns in told:
        for noun in nouns:
            beside[noun].update(nouns.keys())
    asked = [noun for noun in count if count[noun] >= min_count and noun not in lex.SELDOM_TOLD]
    for photo, nouns in zip(photos, told, strict=True):
        heard = photo.words | nouns.keys()
        likely: dict[str, float] = defaultdict(float)
        for other in nouns:
            for noun, times in beside[other].items():
                likely[noun] += times / count[other]
        for noun in asked:
            if noun in nouns:
                number = next(i for i, caption in enumerate(photo.facts) if any(thing.noun == noun for thing in caption.things))
                things = [thing for thing in photo.facts[number].things if thing.noun == noun]
                claims.holds(_is_there(noun), photo, number, *things)
            elif likely[noun] and heard.isdisjoint(lex.same(noun) | set(noun.split())):
                claims.fails(_is_there(noun), photo, 0, likely[noun])


def _is_there(noun: str) -> str:
    if noun in lex.PLURAL:
        return f"are there {noun} in the photo?"
    article = "" if noun.split()[-1] in lex.MASS else "an " if noun.startswith(lex.PRONOUNCED_AN) else "a "
    return f"is there {article}{noun} in the photo?"


def _doing(photos: Sequence[CaptionedPhoto], claims: Claims) -> None:
    """Claims "is the dog running?". No where all actions in the photo exclude it, weighted by how often dogs run."""
    common: dict[str, Counter[str]] = defaultdict(Counter)
    seen: list[tuple[str, CaptionedPhoto, int]] = []
    for photo in photos:
        naming = Naming(photo.facts)
        for number, caption in enumerate(photo.facts):
            for action in caption.actions:
                who = naming.names(action.agents, caption)
                if (
                    not who
                    or action.doing not in lex.ACTIVITY.keys() - lex.TRANSITIVE
                    or akin(action.agents[0].noun, action.doing)
                ):
                    continue
                start = f"{are(action.agents)} {who}"
                common[start][action.doing] += 1
                seen.append((start, photo, number))
                claims.holds(f"{start} {action.doing}?", photo, number, *action.agents)
    for start, photo, number in seen:
        rows = {
            lex.ACTIVITY[action.doing] for caption in photo.facts for action in caption.actions if action.doing in lex.ACTIVITY
        }
        for doing, times in common[start].items():
            if all(lex.ACTIVITY[doing] in lex.EXCLUDED[row] for row in rows) and doing not in photo.words:
                claims.fails(f"{start} {doing}?", photo, number, times)


def _coloured(photos: Sequence[CaptionedPhoto], claims: Claims) -> None:
    """Claims "is the dog brown?". No where no mentioned colour is close, weighted by how often dogs are brown."""
    common: dict[str, Counter[str]] = defaultdict(Counter)
    seen: list[tuple[str, CaptionedPhoto, int]] = []
    for photo in photos:
        naming = Naming(photo.facts)
        for number, caption in enumerate(photo.facts):
            for asked in colour(caption, naming):
                if " and " in asked.answer:
                    continue
                start = asked.question.removeprefix("what colour ").removesuffix("?")
                common[start][asked.answer] += 1
                seen.append((start, photo, number))
                claims.holds(f"{start} {asked.answer}?", photo, number, *asked.things)
    for start, photo, number in seen:
        near = _near(photo.words)
        for shade, times in common[start].items():
            if shade not in near:
                claims.fails(f"{start} {shade}?", photo, number, times)


def _near(words: Iterable[str]) -> set[str]:
    """Colours among `words`, and the colours that can be confused with them."""
    told = {lex.COLOURS[part] for word in words for part in word.split("-") if part in lex.COLOURS}
    return told.union(*(row for row in lex.NEAR if row & told))
