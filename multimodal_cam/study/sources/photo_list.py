"""Photos of a study, with their captions, things and questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data.readers.caption_file import read_names
from ...data.readers.coco import CocoObject
from ...data.readers.question_record import Question


@dataclass(frozen=True)
class StudyPhoto:
    """A photo: its file name, its human `captions`, and either the `things` on it or `questions` about it.

    With Flickr30k Entities both stay empty: the worker reads the photo's annotation itself, so that a list of a million photos
    is a list of names.
    """

    image: str
    captions: tuple[str, ...] = ()
    things: tuple[CocoObject, ...] = ()
    questions: tuple[Question, ...] = ()


def listed_photos(split: Path | None, entities: Path, captions: Mapping[str, Sequence[str]]) -> list[StudyPhoto]:
    """Photos of a split file (one a line, with or without `.jpg`), or all photos in Flickr30k Entities at `entities`."""
    names = sorted(path.stem for path in (entities / "Sentences").glob("*.txt")) if split is None else read_names(split)
    if not names:
        raise ValueError(f"{split or entities} names no photo")
    files = [name if Path(name).suffix else f"{name}.jpg" for name in dict.fromkeys(names)]
    return [StudyPhoto(file, tuple(captions.get(file, ()))) for file in files]


def question_photos(questions: Iterable[Question]) -> list[StudyPhoto]:
    """Photos of the questions with boxes, in the questions' order."""
    photos: dict[str, list[Question]] = {}
    for question in questions:
        if question.boxes:
            photos.setdefault(question.image, []).append(question)
    if not photos:
        raise ValueError("none of the questions has a box: a study needs to know where the answers are")
    return [StudyPhoto(image, questions=tuple(found)) for image, found in photos.items()]


def chunked(items: Sequence[StudyPhoto], size: int) -> list[Sequence[StudyPhoto]]:
    """Shards of the photos, always cut at the same places."""
    return [items[start : start + size] for start in range(0, len(items), size)]
