"""The tasks of a study with people: what each asks about a photo, under each condition.

`class` and `reliability` are those of Selvaraju et al., ICCV 2017 / IJCV 2020, sections 5.1 and 5.2.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from ..render.figure_content import heats
from ..render.overlay import jpeg, overlay
from .explained_photos import ExplainedPhoto, ExplainedThing, bare
from .rater_questions import RaterQuestion, Stimulus
from .study_key import COMPARISONS
from .word_tables import JudgedWord, ThingPair

PHOTO_ALONE = "photo alone"  # the condition without a map
RATINGS = ("A clearly more", "A slightly more", "Both alike", "B slightly more", "B clearly more")
VERDICTS = ("Right", "Wrong")
Things = dict[str, ExplainedThing]  # by condition
QUALITY = 80  # of the pictures, as JPEG


@dataclass(frozen=True, eq=False)
class StudySource:
    """What stimuli are made of; `left_out` counts photos that cannot be used, by reason.

    Attributes:
        conditions: Names of the conditions.
        photos: Photos that were explained under each of them, in the order in which they are taken.
        pairs: What is shown in the task `class`; without it two things are found for each photo.
        truth: Words of the task `word`; for `reliability` those that are right, if there are any.
        photo_alone: Whether the photo without a map is a condition, too.
    """

    conditions: tuple[str, ...]
    photos: Sequence[ExplainedPhoto]
    pairs: Sequence[ThingPair] = ()
    truth: Sequence[JudgedWord] = ()
    photo_alone: bool = False
    seed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def variants(self) -> int:
        """Number of conditions, with the photo alone."""
        return len(self.conditions) + self.photo_alone

    def named(self, image: str) -> list[ExplainedPhoto]:
        """The photo called `image`; counted as left out where there is none, or more than one."""
        found = [photo for photo in self.photos if image in photo.names]
        if len(found) != 1:
            self.left_out["a photo that was not explained under all conditions" if not found else "a name of several photos"] += 1
            return []
        return found


@dataclass(frozen=True, eq=False)
class RaterTask:
    """A task of a study: its title and lead on the page, and the function that makes its stimuli."""

    title: str
    lead: str
    make: Callable[[StudySource], Iterator[Stimulus]]


def class_stimuli(source: StudySource) -> Iterator[Stimulus]:
    """Which of two things of the photo is the map of? The right one stands left as often as right, under each condition."""
    chosen = list(_given_pairs(source) if source.pairs else _found_pairs(source))
    random.Random(source.seed).shuffle(chosen)
    for i, (photo, shown, other, things) in enumerate(chosen):
        right = i // source.variants % 2
        options = (shown, other) if right == 0 else (other, shown)
        prompt = "What do the colours show?"
        yield Stimulus(f"{min(photo.names)}: {shown}, not {other}", _variants(source, things, prompt, options, right))


def word_stimuli(source: StudySource) -> Iterator[Stimulus]:
    """Is this word right, given its map? Right words are as many as wrong ones: the surplus is left out."""
    if not source.truth:
        raise ValueError("the task word needs to know which words are right: give a file image,word,right with --truth")
    found: dict[bool, list[Stimulus]] = {True: [], False: []}
    for image, word, is_right in source.truth:
        for photo in source.named(image):
            things = _find(photo, source.conditions, word)
            if things is None:
                source.left_out["a word without a map under all conditions"] += 1
                continue
            variants = _variants(source, things, "", VERDICTS, 0 if is_right else 1, said=word)
            found[is_right].append(Stimulus(f"{min(photo.names)}: {word}", variants))
    for stimuli in found.values():
        random.Random(source.seed).shuffle(stimuli)
    count, block = min(map(len, found.values())), source.variants
    if surplus := max(map(len, found.values())) - count:
        source.left_out["a word beyond as many right as wrong ones"] += surplus
    for start in range(0, count, block):  # in blocks, so that the Latin square gives each condition as many right as wrong ones
        for stimuli in found.values():
            yield from stimuli[start : min(start + block, count)]


def reliability_stimuli(source: StudySource) -> Iterator[Stimulus]:
    """Which of two conditions, that say the same of a photo, is more reliable? Each stands left as often as right."""
    if source.photo_alone:
        raise ValueError("the photo alone is no model that could be reliable: leave --photo-alone out")
    for photo, name, things in _agreed(source):
        quoted = things[source.conditions[0]].part.text
        prompt = f"A and B both said “{quoted}”. Which is more reliable, by what it looked at?"
        pictures = {condition: picture(thing) for condition, thing in things.items()}
        variants = tuple(
            RaterQuestion(prompt, (pictures[a], pictures[b]), RATINGS, (a, b)) for a, b in permutations(source.conditions, 2)
        )
        yield Stimulus(f"{min(photo.names)}: {name}", variants)


TASKS: Mapping[str, RaterTask] = {
    "class": RaterTask(
        "Which of two things?",
        "The colours on each photo belong to one of two things, both named below it. Say which.",
        class_stimuli,
    ),
    COMPARISONS: RaterTask(
        "Which is more reliable?",
        "Two computer programs, A and B, said the same of each photo. The colours show what each looked at. Say which of them "
        "seems more reliable.",
        reliability_stimuli,
    ),
    "word": RaterTask(
        "Is this word right?",
        "A computer program said something of each photo. The colours show where a word of it came from. Say whether the word "
        "is right.",
        word_stimuli,
    ),
}


def picture(thing: ExplainedThing, *, alone: bool = False) -> bytes:
    """The overlay of a map on its photo as a JPEG file without metadata; with `alone` the photo."""
    e = thing.explanation
    shown = e.image if alone else overlay(e.image, next(heats(e, [thing.part], "word")))
    return jpeg(shown, QUALITY)


def _variants(
    source: StudySource,
    things: Mapping[str, ExplainedThing],
    prompt: str,
    options: tuple[str, ...],
    right: int,
    *,
    said: str = "",
) -> tuple[RaterQuestion, ...]:
    """The question under each condition. `said` asks whether that word of each condition's text is right."""
    shown = [(condition, thing, False) for condition, thing in things.items()]
    if source.photo_alone:
        shown.append((PHOTO_ALONE, next(iter(things.values())), True))
    return tuple(
        RaterQuestion(
            _verdict_prompt(thing, said) if said else prompt, (picture(thing, alone=alone),), options, (condition,), right
        )
        for condition, thing, alone in shown
    )


def _verdict_prompt(thing: ExplainedThing, word: str) -> str:
    e = thing.explanation
    if e.question:
        return f"“{e.question}” – “{e.text}”. Is “{word}” right?"
    return f"“{e.text}”. Is “{word}” right?" if bare(e.text) != bare(word) else f"Is “{word}” right?"


def _given_pairs(source: StudySource) -> Iterator[tuple[ExplainedPhoto, str, str, Things]]:
    for image, shown, other in source.pairs:
        for photo in source.named(image):
            things = _find(photo, source.conditions, shown)
            if things is None:
                source.left_out["a thing without a map under all conditions"] += 1
            else:
                yield photo, shown, other, things


def _found_pairs(source: StudySource) -> Iterator[tuple[ExplainedPhoto, str, str, Things]]:
    """Two things of each photo that share no word; by chance, one of them is shown."""
    chance = random.Random(source.seed)
    for photo in source.photos:
        said = _common(source.conditions, photo.said)
        if len(said) < 2:
            said |= _common(source.conditions, photo.answers)
        pairs = [(a, b) for a, b in permutations(said, 2) if not set(a.split()) & set(b.split())]
        if not pairs:
            source.left_out["fewer than two things with a map under all conditions"] += 1
            continue
        shown, other = chance.choice(pairs)
        yield photo, shown, other, said[shown]


def _agreed(source: StudySource) -> Iterator[tuple[ExplainedPhoto, str, Things]]:
    """For each photo a thing that all conditions name, by chance; with a truth, right ones only."""
    chance = random.Random(source.seed)
    right = {(word.image, bare(word.word)) for word in source.truth if word.right}
    for photo in source.photos:
        said = _common(source.conditions, photo.said)
        names = [name for name in said if not source.truth or any((image, name) in right for image in photo.names)]
        if not names:
            source.left_out["nothing that all conditions say" + (" and that is right" if source.truth else "")] += 1
            continue
        name = chance.choice(names)
        yield photo, name, said[name]


def _common(conditions: Sequence[str], things_of: Callable[[str], Mapping[str, ExplainedThing]]) -> dict[str, Things]:
    """Things that every condition has, by name and condition."""
    found = {condition: things_of(condition) for condition in conditions}
    names = [name for name in found[conditions[0]] if all(name in things for things in found.values())]
    return {name: {condition: things[name] for condition, things in found.items()} for name in names}


def _find(photo: ExplainedPhoto, conditions: Sequence[str], name: str) -> Things | None:
    found = {condition: thing for condition in conditions if (thing := photo.find(condition, name)) is not None}
    return found if len(found) == len(conditions) else None
