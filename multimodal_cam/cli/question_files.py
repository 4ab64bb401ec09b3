"""Question files of the command line: broken lines are reported, not fatal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .output import print_diagnostic

if TYPE_CHECKING:
    from multimodal_cam.data.questions import Question


def read_question_file(path: Path) -> list[Question]:
    """The questions of a file; broken lines are left out, counted, and the first is shown.

    Raises ValueError when no question is left.
    """
    from multimodal_cam.data.questions import read_questions

    broken: list[str] = []
    questions = list(read_questions(path, broken.append))
    if broken:
        print_diagnostic(f"left out {len(broken)} broken lines, the first: {broken[0]}")
    if not questions:
        raise ValueError(f"{path} holds no questions")
    return questions
