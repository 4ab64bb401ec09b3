"""The key of a study with people, `key.json`: conditions, stimulus and right answer of each question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.json_object import JSONObject, read_object

FORMAT = 1
KEY = "key.json"
COMPARISONS = "reliability"  # the task whose questions compare two conditions; those of the others have a right answer
ADVICE = "give the folder as `humanstudy make` wrote it"


@dataclass(frozen=True)
class KeyQuestion:
    """What the key says of a question; `check` says that its right answer is written in it."""

    conditions: tuple[str, ...]
    stimulus: str
    options: tuple[str, ...]
    right: int | None
    check: bool


@dataclass(frozen=True)
class StudyKey:
    """The key of a study: its id, task and conditions, and its questions by id."""

    study: str
    task: str
    conditions: tuple[str, ...]
    questions: Mapping[str, KeyQuestion]


def read_key(folder: Path) -> StudyKey:
    """The key in the folder of a study. Raises BrokenFile for one that is missing or damaged."""
    values = read_object(folder / KEY, ADVICE)
    if values.values.get("format") != FORMAT:
        raise values.broken("format", f"{FORMAT}, which this version reads")
    task, conditions, entries = values.text("task"), values.texts("conditions"), values.object("questions")
    questions = {name: _question(entries.object(name), task, conditions) for name in entries.values}
    return StudyKey(values.text("study"), task, conditions, questions)


def _question(entry: JSONObject, task: str, conditions: Sequence[str]) -> KeyQuestion:
    shown, options, check = entry.texts("conditions"), entry.texts("options"), entry.flag("check")
    compared = 2 if task == COMPARISONS else 1
    if len(shown) != compared or not set(shown) <= set(conditions):
        raise entry.broken("conditions", f"{compared} of {', '.join(conditions)}")
    has_right = check or task != COMPARISONS
    right = entry.integer("right", 0, max(len(options) - 1, 0)) if has_right else None
    return KeyQuestion(shown, entry.text("stimulus"), options, right, check)
