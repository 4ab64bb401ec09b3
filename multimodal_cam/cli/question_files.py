"""Question files of the command line; malformed lines are reported, not fatal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .output import print_diagnostic

if TYPE_CHECKING:
    from multimodal_cam.data.readers.question_record import Question


def read_question_file(path: Path) -> list[Question]:
    """Questions of a file; malformed lines are skipped, and their number and the first one are printed.

    Raises ValueError when no question is left.
    """
    from multimodal_cam.data.readers.question_record import read_questions

    broken: list[str] = []
    questions = list(read_questions(path, broken.append))
    if broken:
        print_diagnostic(f"skipped {len(broken)} malformed lines, the first: {broken[0]}")
    if not questions:
        raise ValueError(f"{path} holds no questions")
    return questions
