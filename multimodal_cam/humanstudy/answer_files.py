"""Answers of raters, as the page saves them: a JSON file for each rater."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.json_object import JSONObject, read_object
from .study_key import FORMAT, StudyKey

ADVICE = "ask the rater for the file again, or leave it out"


@dataclass(frozen=True)
class RaterAnswer:
    """An answer: the question's id, the option by its index in the key, where it stood on the screen, and the time it took."""

    question: str
    choice: int
    position: int
    milliseconds: int


@dataclass(frozen=True)
class RaterAnswers:
    """All answers of a rater."""

    rater: int
    path: Path
    answers: tuple[RaterAnswer, ...]


def read_answers(paths: Sequence[Path], key: StudyKey) -> list[RaterAnswers]:
    """The answers in the files, and in the JSON files of folders, by rater's number.

    Raises:
        BrokenFile: A file is damaged, or belongs to another study.
        ValueError: There is none, or two files are of one rater.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    found: dict[int, RaterAnswers] = {}
    for file in files:
        one = _answers(read_object(file, ADVICE), key)
        if (other := found.get(one.rater)) is not None:
            raise ValueError(f"{other.path} and {file} are both of rater {one.rater}: leave the older one out")
        found[one.rater] = one
    if not found:
        raise ValueError(f"no answers in {', '.join(map(str, paths))}: expected the files that raters saved, answers-1.json")
    return [found[rater] for rater in sorted(found)]


def _answers(values: JSONObject, key: StudyKey) -> RaterAnswers:
    if values.values.get("format") != FORMAT:
        raise values.broken("format", f"{FORMAT}, which this version reads")
    if values.text("study") != key.study:
        raise values.broken("study", f"{key.study}, the study of the key")
    answers: dict[str, RaterAnswer] = {}
    for entry in values.objects("answers"):
        name = entry.text("question")
        if name not in key.questions or name in answers:
            raise entry.broken("question", "a question of the study, answered once")
        last = len(key.questions[name].options) - 1
        answers[name] = RaterAnswer(
            name, entry.integer("choice", 0, last), entry.integer("position", 0, last), entry.integer("milliseconds")
        )
    return RaterAnswers(values.integer("rater", 1), values.path, tuple(answers.values()))
