"""Readers of VQA datasets in their original layouts; all yield `Question` records.

VQA v1 and v2 (Antol et al., ICCV 2015; Goyal et al., CVPR 2017), VQA-HAT (Das et al., EMNLP 2016), COCO-QA (Ren, Kiros,
Zemel, NeurIPS 2015) and easy-VQA (https://github.com/vzhou842/easy-VQA).

A malformed record is skipped and passed to `on_skip`; without `on_skip` it raises ValueError, as in `read_questions`. A file that
is damaged as a whole (truncated JSON, parallel files of different lengths) always raises ValueError, because none of its records
can be trusted. The functions are generators: errors are raised with the first question that is requested.
"""

from __future__ import annotations

import json
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...core.image_paths import open_image
from .question_record import OnSkip, Question

T = TypeVar("T")
Raw = TypeVar("Raw")

_COCO_QA_FILES = ("questions.txt", "answers.txt", "img_ids.txt", "types.txt")
_COCO_QA_TYPES = {"0": "object", "1": "number", "2": "colour", "3": "location"}
_COCO_QA_PHOTOS = {"train": "train2014", "test": "val2014"}  # its test questions are about COCO's validation photos

_EASY_TYPES = {
    **dict.fromkeys(("yes", "no"), "yes/no"),
    **dict.fromkeys(("circle", "rectangle", "triangle"), "object"),
    **dict.fromkeys(("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"), "colour"),
}

_MAP_NAME = re.compile(r"(?P<question>\d+)_(?P<person>\d+)\.png", re.ASCII)


def read_vqa(questions: Path, annotations: Path, on_skip: OnSkip | None = None) -> Iterator[Question]:
    """Yield the questions of VQA v2 about COCO's photos, or of v1, whose layout is the same, in the file's order.

    The files are `v2_OpenEnded_mscoco_train2014_questions.json` and `v2_mscoco_train2014_annotations.json`.

    `answer` is the commonest of the ten people's `answers`, `type` the dataset's `answer_type` (`yes/no`, `number`,
    `other`), `image` COCO's file name (`COCO_train2014_000000000009.jpg`), `split` the subtype without its year (`train`).
    Skipped: questions without an annotation, records with missing fields. Raises ValueError for a truncated file.
    """
    for _, question in _read_vqa(questions, annotations, on_skip):
        yield question


def read_vqa_hat(questions: Path, annotations: Path, maps: Path, on_skip: OnSkip | None = None) -> Iterator[Question]:
    """Yield the questions of VQA v1 that have human attention maps, one record a map.

    The maps are the pictures `<question id>_<n>.png` in the folder `maps`: three people's for each validation question, one for
    each training question. `attention` is the map's path, for `read_attention`; the other fields are those of `read_vqa`. The
    maps of a question follow each other. Also skipped: pictures with other names, maps of questions that were not read. Raises
    ValueError when there is no map at all.
    """
    drawn = _find_maps(maps, on_skip)
    for number, question in _read_vqa(questions, annotations, on_skip):
        for path in drawn.pop(number, ()):
            yield replace(question, attention=str(path))
    for number, paths in drawn.items():
        _report(f"{paths[0]}: expected a map of a question in {questions}, question {number} was not read from there", on_skip)


def read_attention(path: Path | str, size: tuple[int, int] = (14, 14)) -> NDArray[np.float64]:
    """Share of human attention in each cell, `size` (rows, columns) numbers that sum to 1.

    A cell is the mean of its pixels. Raises FileNotFoundError, and ValueError for a file that is not a picture or is black
    everywhere.
    """
    rows, columns = size
    with Path(path).open("rb") as file:
        try:
            grey = open_image(file).convert("F")
        except (OSError, SyntaxError) as error:  # Pillow raises the latter for broken PNG chunks
            raise ValueError(f"{path}: expected an attention map as a picture ({error})") from None
    cells = np.asarray(grey.resize((columns, rows), Image.Resampling.BOX), dtype=np.float64)
    total = float(cells.sum())
    if not total > 0:
        raise ValueError(f"{path}: expected an attention map, this picture is black everywhere")
    return cells / total


def read_coco_qa(
    folder: Path, split: str, on_skip: OnSkip | None = None, *, name: Callable[[int], str] | None = None
) -> Iterator[Question]:
    """Yield the questions of COCO-QA's `split` (`train`, `test`) from `folder/split`: the parallel lines of
    `questions.txt`, `answers.txt`, `img_ids.txt` and `types.txt`.

    `type` is `object`, `number`, `colour` or `location`. `image` is `name(id)`, by default COCO's file name in its 2014 edition:
    training photos for `train`, validation photos for `test`. Skipped: lines with an unknown type,
    without an id, or empty. Raises ValueError for an unknown split and for files of different lengths, which cannot be aligned.
    """
    _check_split(split)
    columns = [_lines(folder / split / file) for file in _COCO_QA_FILES]
    if len(set(map(len, columns))) > 1:
        counts = ", ".join(f"{file} {len(lines)}" for file, lines in zip(_COCO_QA_FILES, columns, strict=True))
        raise ValueError(f"{folder / split}: expected files of as many lines each, got {counts}")

    def question(line: tuple[str, ...]) -> Question:
        text, answer, image, kind = line
        if not image.isdecimal() or kind not in _COCO_QA_TYPES:
            raise ValueError(f"expected an image id and a type from 0 to 3, got {image!r} and {kind!r}")
        photo = name(int(image)) if name else _coco_name(_COCO_QA_PHOTOS[split], int(image))
        return Question(photo, text, answer, _COCO_QA_TYPES[kind], split=split)

    yield from _well_formed(zip(*columns, strict=True), question, f"{folder / split}, line", on_skip)


def read_easy_vqa(folder: Path, split: str, on_skip: OnSkip | None = None) -> Iterator[Question]:
    """Yield the questions of easy-VQA's `split` (`train`, `test`) from `folder/split/questions.json`, where `folder` is the
    `data` folder of the package easy-vqa.

    `image` is the path below `folder` (`train/images/7.png`), for both splits number from 0. `type` follows from the answer:
    `yes/no`, `object` (a shape) or `colour`, empty for other answers. Skipped: records other than `[question, answer, image
    id]`. Raises ValueError for an unknown split and for a truncated file.
    """
    _check_split(split)
    path = folder / split / "questions.json"
    records = _read_json(path)
    if not isinstance(records, list):
        raise ValueError(f"{path}: expected a list of [question, answer, image id], got {reprlib.repr(records)}")

    def question(record: Any) -> Question:
        if not (isinstance(record, list) and [type(part) for part in record] == [str, str, int]):
            raise ValueError(f"expected [question, answer, image id], got {reprlib.repr(record)}")
        text, answer, image = record
        return Question(f"{split}/images/{image}.png", text, answer, _EASY_TYPES.get(answer, ""), split=split)

    yield from _well_formed(records, question, f"{path}, question", on_skip)


def _read_vqa(questions: Path, annotations: Path, on_skip: OnSkip | None) -> Iterator[tuple[int, Question]]:
    """Yield the questions with their ids."""
    asked, subtype = _records(questions, "questions")
    answered, _ = _records(annotations, "annotations")
    by_question = dict(
        _well_formed(answered, lambda record: (_field(record, "question_id", int), record), f"{annotations}, annotation", on_skip)
    )

    def question(record: Any) -> tuple[int, Question]:
        number = _field(record, "question_id", int)
        if number not in by_question:
            raise ValueError(f"question {number} has no annotation in {annotations}")
        return number, _vqa_question(record, by_question[number], subtype)

    yield from _well_formed(asked, question, f"{questions}, question", on_skip)


def _vqa_question(asked: Mapping[str, Any], answered: Mapping[str, Any], subtype: str) -> Question:
    answers = _field(answered, "answers", list)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"expected 'answers' as a list of objects with an 'answer', got {reprlib.repr(answers)}")
    return Question(
        image=_coco_name(subtype, _field(asked, "image_id", int)),
        question=_field(asked, "question", str),
        answer=_field(answered, "multiple_choice_answer", str),
        type=_field(answered, "answer_type", str),
        split=subtype.rstrip("0123456789"),
        answers=tuple(answers),
    )


def _records(path: Path, key: str) -> tuple[list[Any], str]:
    """Records under `key`, and the subtype (`train2014`)."""
    found = _read_json(path)
    try:
        return _field(found, key, list), _field(found, "data_subtype", str)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_json(path: Path) -> Any:
    with path.open(encoding="utf-8") as file:
        try:
            return json.load(file, object_hook=_only_the_answer)
        except (ValueError, RecursionError) as error:  # no JSON or no UTF-8
            raise ValueError(f"{path}: expected a whole JSON file, this one is cut short or broken ({error})") from None


def _only_the_answer(record: dict[str, Any]) -> Any:
    """Reduce a person's answer to its interned text: v2's training set has 4.4 million of them, few of them distinct."""
    answer = record.get("answer")
    return sys.intern(answer) if isinstance(answer, str) else record


def _find_maps(folder: Path, on_skip: OnSkip | None) -> dict[int, list[Path]]:
    """Maps of each question id, in order."""
    drawn: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.glob("*.png")):
        named = _MAP_NAME.fullmatch(path.name)
        if named:
            drawn.setdefault(int(named["question"]), {})[int(named["person"])] = path
        else:
            _report(f"{path}: expected a map named <question id>_<n>.png", on_skip)
    if not drawn:
        raise ValueError(f"{folder}: expected attention maps named <question id>_<n>.png, found none")
    return {question: [path for _, path in sorted(maps.items())] for question, maps in drawn.items()}


def _well_formed(records: Iterable[Raw], make: Callable[[Raw], T], where: str, on_skip: OnSkip | None) -> Iterator[T]:
    """Yield `make(record)` for all records; those that raise ValueError are reported, with `where` and their number from 1."""
    for number, record in enumerate(records, start=1):
        try:
            made = make(record)
        except ValueError as error:
            _report(f"{where} {number}: {error}", on_skip)
        else:
            yield made


def _report(said: str, on_skip: OnSkip | None) -> None:
    if on_skip is None:
        raise ValueError(said)
    on_skip(said)


def _field(record: Any, key: str, kind: type[T]) -> T:
    found = record.get(key) if isinstance(record, dict) else None
    if not isinstance(found, kind):
        raise ValueError(f"expected an object with {key!r} ({kind.__name__}), got {reprlib.repr(record)}")
    return found


def _check_split(split: str) -> None:
    if split not in ("train", "test"):
        raise ValueError(f"expected the split train or test, got {split!r}")


def _coco_name(subtype: str, image: int) -> str:
    return f"COCO_{subtype}_{image:012d}.jpg"


def _lines(path: Path) -> list[str]:
    """Lines of a text file. `splitlines` would also split at characters that do not end lines here."""
    return [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").rstrip().split("\n")]
