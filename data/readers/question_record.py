"""The record that all VQA readers yield: a question about a photo, its answer and the answer's boxes; JSON lines on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .voc_annotation import Box

OnSkip = Callable[[str], None]  # called with one sentence about each record that is skipped


@dataclass(frozen=True)
class Question:
    """A question about a photo, with its answer.

    Attributes:
        image: File name of the photo.
        question: Text of the question.
        answer: The answer that counts as right.
        type: Kind of answer: `object`, `colour`, `number`, `location`, `action`, `yes/no`, or the dataset's own.
        caption: Caption that the question was made from.
        boxes: Boxes of the answer, `(x0, y0, x1, y1)` in fractions of the photo; empty for an answer without a place.
        split: Name of the split.
        answers: Answers of several people (VQA v2 has 10), where they differ from `answer`.
        attention: File of a human attention map (VQA-HAT).
    """

    image: str
    question: str
    answer: str
    type: str = ""
    caption: str = ""
    boxes: tuple[Box, ...] = ()
    split: str = ""
    answers: tuple[str, ...] = ()
    attention: str = ""

    def __post_init__(self) -> None:
        for name in ("image", "question", "answer"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"a question needs {name!r}, got {getattr(self, name)!r}")
        for name in ("type", "caption", "split", "attention"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"a question's {name!r} is text, got {getattr(self, name)!r}")
        for box in self.boxes:
            if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise ValueError(f"a box is x0, y0, x1, y1 in fractions of the photo, got {box}")

    def to_json(self) -> dict[str, Any]:
        """Fields of a JSON line: the first seven always, the others only where they are set."""
        found: dict[str, Any] = {name: getattr(self, name) for name in ("image", "question", "answer", "type", "caption")}
        found["boxes"] = [[float(f"{x:.6g}") for x in box] for box in self.boxes]
        found["split"] = self.split
        if self.answers:
            found["answers"] = list(self.answers)
        if self.attention:
            found["attention"] = self.attention
        return found


def write_questions(questions: Iterable[Question], path: Path) -> int:
    """Write one JSON object a line and return their number; after an error no file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as file:
            for question in questions:
                file.write(json.dumps(question.to_json(), ensure_ascii=False) + "\n")
                count += 1
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return count


def read_questions(path: Path, on_skip: OnSkip | None = None) -> Iterator[Question]:
    """Yield the questions of a file. Malformed lines are skipped and passed to `on_skip`; without it they raise ValueError."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield _question(json.loads(line))
            except (ValueError, TypeError, OverflowError, RecursionError) as error:  # malformed JSON is a ValueError
                said = f"{path}, line {number}: expected a question as a JSON object, got {_short(line)} ({error})"
                if on_skip is None:
                    raise ValueError(said) from None
                on_skip(said)


def _question(found: Any) -> Question:
    if not isinstance(found, dict):
        raise ValueError(f"this is a {type(found).__name__}")
    known = {name: value for name, value in found.items() if name in Question.__dataclass_fields__}
    missing = {"image", "question", "answer"} - known.keys()
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} missing")
    if not isinstance(known.get("answers", []), list):
        raise ValueError("answers is no list")
    boxes = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in known.pop("boxes", ()))
    return Question(**known | {"answers": tuple(known.get("answers", ()))}, boxes=boxes)


def _short(line: str) -> str:
    line = line.strip()
    return repr(line if len(line) <= 60 else line[:60] + "…")
