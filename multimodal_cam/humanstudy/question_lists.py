"""From stimuli to what raters see: a Latin square over conditions, attention checks, and ids that give nothing away.

List `l` shows stimulus `i` in its variant `(i + l) mod n`: a rater sees each stimulus once and each condition equally often, and
raters of all `n` lists see each stimulus under each condition once. Which rater gets which list follows from the rater's number.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .rater_questions import RaterQuestion, Stimulus
from .study_key import FORMAT

ID_DIGITS = 16


@dataclass(frozen=True, eq=False)
class AskedQuestion:
    """A question as it is asked, with its stimulus; `check` says that its right answer is written in it."""

    question: RaterQuestion
    stimulus: str
    check: bool = False


@dataclass(frozen=True, eq=False)
class QuestionLists:
    """Questions by id, and the ids of each list without an order: each rater has an order of its own."""

    questions: dict[str, AskedQuestion]
    lists: tuple[tuple[str, ...], ...]


def latin_lists(stimuli: Sequence[Stimulus], checks: int, seed: int) -> QuestionLists:
    """The lists, each with `checks` attention checks. Ids are in a random order, so that they tell no condition.

    Raises ValueError for fewer stimuli than variants: some condition would not be seen.
    """
    variants = len(stimuli[0].variants) if stimuli else 0
    if len(stimuli) < max(variants, 1):
        raise ValueError(f"expected at least {max(variants, 1)} photos that can be asked about, got {len(stimuli)}")
    chance = random.Random(seed)
    asked = [AskedQuestion(variant, stimulus.name) for stimulus in stimuli for variant in stimulus.variants]
    asked += [AskedQuestion(_check(chance.choice(asked).question, i), f"check {i + 1}", True) for i in range(checks)]
    places = list(range(len(asked)))
    chance.shuffle(places)
    width = len(str(len(asked)))
    ids = [f"q{place + 1:0{width}}" for place in places]
    always = ids[len(stimuli) * variants :]
    lists = tuple(
        tuple(sorted([*(ids[i * variants + (i + shift) % variants] for i in range(len(stimuli))), *always]))
        for shift in range(variants)
    )
    return QuestionLists(dict(sorted(zip(ids, asked, strict=True))), lists)


def page_data(title: str, lists: QuestionLists) -> dict[str, Any]:
    """What the page knows: no condition, no right answer, no name of a photo. `study` identifies all of it."""
    pictures = sorted({picture for asked in lists.questions.values() for picture in asked.question.pictures}, key=_digest)
    at = {picture: i for i, picture in enumerate(pictures)}
    questions = {
        name: {
            "prompt": asked.question.prompt,
            "pictures": [at[picture] for picture in asked.question.pictures],
            "options": asked.question.options,
        }
        for name, asked in lists.questions.items()
    }
    facts = {"title": title, "questions": questions, "lists": lists.lists}
    digests = [hashlib.sha256(picture).hexdigest() for picture in pictures]
    study = hashlib.sha256(json.dumps([facts, digests]).encode()).hexdigest()[:ID_DIGITS]
    return {"study": study, **facts, "pictures": pictures}


def key_data(task: str, conditions: Sequence[str], lists: QuestionLists, study: str) -> dict[str, Any]:
    """What scoring needs and raters must not see: the conditions, stimulus and right answer of each question."""
    questions = {
        name: {
            "conditions": list(asked.question.conditions),
            "stimulus": asked.stimulus,
            "options": list(asked.question.options),
            "right": asked.question.right,
            "check": asked.check,
        }
        for name, asked in lists.questions.items()
    }
    return {"format": FORMAT, "study": study, "task": task, "conditions": list(conditions), "questions": questions}


def _check(question: RaterQuestion, number: int) -> RaterQuestion:
    """A question that says what to choose: one end of the options, then the other."""
    right = 0 if number % 2 == 0 else len(question.options) - 1
    prompt = f"This one checks that you read: whatever the colours show, choose “{question.options[right]}”."
    return replace(question, prompt=prompt, right=right)


def _digest(picture: bytes) -> bytes:
    return hashlib.sha256(picture).digest()
