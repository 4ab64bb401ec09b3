"""data/readers/vqa_dataset.py on tiny folders in the datasets' layouts: what comes out, and how broken ones are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multimodal_cam.data.readers.question_record import Question
from multimodal_cam.data.readers.vqa_dataset import read_attention, read_coco_qa, read_easy_vqa, read_vqa, read_vqa_hat

SAID = ["net"] * 7 + ["nets"] * 3


def asked(number: int, text: str = "What is this?", **other: Any) -> dict[str, Any]:
    return {"image_id": 458752, "question": text, "question_id": number} | other


def answered(number: int, **other: Any) -> dict[str, Any]:
    answers = [{"answer": said, "answer_confidence": "yes", "answer_id": n} for n, said in enumerate(SAID, start=1)]
    types = {"question_type": "what is this", "answer_type": "other"}
    return {"question_id": number, "image_id": 458752, "multiple_choice_answer": "net", "answers": answers} | types | other


def write_vqa(folder: Path, questions: list[Any], annotations: list[Any], subtype: str = "train2014") -> tuple[Path, Path]:
    paths = folder / f"v2_OpenEnded_mscoco_{subtype}_questions.json", folder / f"v2_mscoco_{subtype}_annotations.json"
    for path, key, records in zip(paths, ("questions", "annotations"), (questions, annotations), strict=True):
        path.write_text(json.dumps({"info": {}, "data_subtype": subtype, key: records}), encoding="utf-8")
    return paths


def test_vqa_joins_questions_and_annotations(tmp_path: Path) -> None:
    second = answered(458752001, answer_type="yes/no", multiple_choice_answer="yes")
    files = write_vqa(
        tmp_path, [asked(458752000), asked(458752001, "Is it café?", image_id=9)], [second, answered(458752000)], "val2014"
    )
    first, other = read_vqa(*files)
    assert first == Question(
        image="COCO_val2014_000000458752.jpg",
        question="What is this?",
        answer="net",
        type="other",
        split="val",
        answers=tuple(SAID),
    )
    assert (other.image, other.question, other.type) == ("COCO_val2014_000000000009.jpg", "Is it café?", "yes/no")


@pytest.mark.parametrize(
    ("question", "annotation", "message"),
    [
        (asked(3), answered(2), r"questions\.json, question 2: question 3 has no annotation in .*annotations\.json"),
        ({"question": "What?"}, answered(2), r"question 2: expected an object with 'question_id' \(int\), got \{'question"),
        ("What?", answered(2), r"question 2: expected an object with 'question_id' \(int\), got 'What\?'"),
        (asked(2, image_id="12"), answered(2), r"question 2: expected an object with 'image_id' \(int\)"),
        (asked(2, "  "), answered(2), r"question 2: a question needs 'question', got '  '"),
        (
            asked(2),
            answered(2, answers=[{"answer_id": 1}]),
            r"question 2: expected 'answers' as a list of objects with an 'answer'",
        ),
        (asked(2), answered(2, answers=[]), r"question 2: expected 'answers'"),
        (asked(2), answered(2, answers=None), r"question 2: expected an object with 'answers' \(list\)"),
        (asked(2), answered(2, multiple_choice_answer=None), r"question 2: .*'multiple_choice_answer' \(str\)"),
    ],
)
def test_a_broken_question_is_told_and_left_out(tmp_path: Path, question: Any, annotation: Any, message: str) -> None:
    files = write_vqa(tmp_path, [asked(1), question, asked(4)], [answered(1), annotation, answered(4)])
    told: list[str] = []
    assert [found.answer for found in read_vqa(*files, on_skip=told.append)] == ["net", "net"]
    with pytest.raises(ValueError, match=message) as raised:
        list(read_vqa(*files))
    assert told == [str(raised.value)]


def test_an_annotation_without_id_is_told(tmp_path: Path) -> None:
    files = write_vqa(tmp_path, [asked(1)], [answered(1), {"answers": []}])
    told: list[str] = []
    assert len(list(read_vqa(*files, on_skip=told.append))) == 1
    assert len(told) == 1
    assert "annotations.json, annotation 2: expected an object with 'question_id'" in told[0]


def test_files_that_are_not_whole_are_named(tmp_path: Path) -> None:
    questions, annotations = write_vqa(tmp_path, [asked(1)], [answered(1)])
    told: list[str] = []
    with pytest.raises(ValueError, match=r"annotations\.json: expected an object with 'questions' \(list\)"):
        list(read_vqa(annotations, questions, told.append))
    annotations.write_text(annotations.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"annotations\.json: expected a whole JSON file, this one is cut short or broken \(.*line 1"
    ):
        list(read_vqa(questions, annotations, told.append))
    questions.write_bytes(b'{"questions": "\xff"}')
    with pytest.raises(ValueError, match=r"questions\.json: expected a whole JSON file"):
        list(read_vqa(questions, annotations, told.append))
    questions.write_text('{"questions": []}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"questions\.json: expected an object with 'data_subtype'"):
        list(read_vqa(questions, annotations, told.append))
    with pytest.raises(FileNotFoundError):
        list(read_vqa(tmp_path / "missing.json", annotations, told.append))
    assert told == []


def draw(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("L", (4, 4), 255).save(folder / name)
    return folder


def test_hat_yields_one_question_a_map(tmp_path: Path) -> None:
    files = write_vqa(tmp_path, [asked(21), asked(22), asked(3)], [answered(number) for number in (21, 22, 3)])
    maps = draw(tmp_path / "vqahat_val", "3_1.png", "21_10.png", "21_2.png", "21_1.png")
    found = list(read_vqa_hat(*files, maps))
    assert [Path(question.attention).name for question in found] == ["21_1.png", "21_2.png", "21_10.png", "3_1.png"]
    assert all(Path(question.attention).is_file() and question.answers == tuple(SAID) for question in found)


def test_hat_tells_maps_that_belong_to_nothing(tmp_path: Path) -> None:
    files = write_vqa(tmp_path, [asked(1)], [answered(1)])
    maps = draw(tmp_path / "maps", "1_1.png", "7_1.png", "7_2.png", "cat.png")
    told: list[str] = []
    assert len(list(read_vqa_hat(*files, maps, told.append))) == 1
    wrong_name, unknown = told
    assert "cat.png: expected a map named <question id>_<n>.png" in wrong_name
    assert "7_1.png: expected a map of a question in" in unknown
    with pytest.raises(ValueError, match=r"cat\.png"):
        list(read_vqa_hat(*files, maps))


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_hat_without_maps(tmp_path: Path, folder: str) -> None:
    draw(tmp_path / "empty")
    with pytest.raises(ValueError, match=f"{folder}: expected attention maps named"):
        list(read_vqa_hat(*write_vqa(tmp_path, [asked(1)], [answered(1)]), tmp_path / folder))


def save(path: Path, rows: list[list[int]], mode: str = "L") -> Path:
    Image.fromarray(np.array(rows, np.uint8)).convert(mode).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_attention_is_each_cells_share(tmp_path: Path, mode: str) -> None:
    """Cells of 2 x 2 pixels with means 100, 0, 50 and 50: 200 in all."""
    path = save(tmp_path / "1_1.png", [[200, 200, 0, 0], [0, 0, 0, 0], [50, 50, 0, 100], [50, 50, 100, 0]], mode)
    shares = read_attention(path, (2, 2))
    assert shares.dtype == np.float64
    np.testing.assert_allclose(shares, [[0.5, 0], [0.25, 0.25]])


def test_attention_has_rows_first(tmp_path: Path) -> None:
    path = save(tmp_path / "1_1.png", [[90] * 6, [30] * 6])
    np.testing.assert_allclose(read_attention(path, (2, 3)), [[0.25] * 3, [1 / 12] * 3])
    whole = read_attention(str(path))
    assert whole.shape == (14, 14)
    assert whole.sum() == pytest.approx(1)


def test_attention_that_is_none(tmp_path: Path) -> None:
    black = save(tmp_path / "black.png", [[0, 0], [0, 0]])
    with pytest.raises(ValueError, match=r"black\.png: expected an attention map, this picture is black everywhere"):
        read_attention(black)
    text = tmp_path / "text.png"
    text.write_text("no picture", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.png: expected an attention map as a picture"):
        read_attention(text)
    noise = np.random.default_rng(0).integers(0, 255, (40, 40)).tolist()
    cut = save(tmp_path / "cut.png", noise)
    cut.write_bytes(cut.read_bytes()[:800])
    with pytest.raises(ValueError, match=r"cut\.png: expected an attention map as a picture"):
        read_attention(cut)
    with pytest.raises(FileNotFoundError):
        read_attention(tmp_path / "missing.png")


def write_coco_qa(folder: Path, split: str, **changed: str) -> Path:
    files = {
        "questions": "what is next to the café ?\nhow many dogs ?\nwhat is the color of the bus ?\nwhere is the cat ?\n",
        "answers": "table\ntwo\nred\nroom\n",
        "img_ids": "475546\n9\n10\n11\n",
        "types": "0\n1\n2\n3\n",
    }
    (folder / split).mkdir()
    for name, text in (files | changed).items():
        (folder / split / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("split", "photos"), [("train", "train2014"), ("test", "val2014")])
def test_coco_qa(tmp_path: Path, split: str, photos: str) -> None:
    found = list(read_coco_qa(write_coco_qa(tmp_path, split), split))
    image = f"COCO_{photos}_000000475546.jpg"
    assert found[0] == Question(image, "what is next to the café ?", "table", "object", split=split)
    assert [question.type for question in found] == ["object", "number", "colour", "location"]


def test_coco_qa_with_other_names(tmp_path: Path) -> None:
    found = read_coco_qa(write_coco_qa(tmp_path, "train"), "train", name=lambda number: f"{number:012d}.jpg")
    assert next(found).image == "000000475546.jpg"


def test_coco_qa_files_of_different_lengths(tmp_path: Path) -> None:
    folder = write_coco_qa(tmp_path, "test", answers="table\ntwo\nroom\n")
    with pytest.raises(
        ValueError, match=r"as many lines each, got questions\.txt 4, answers\.txt 3, img_ids\.txt 4, types\.txt 4"
    ):
        list(read_coco_qa(folder, "test", on_skip=lambda said: None))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"types": "0\n4\n2\n3"}, "line 2: expected an image id and a type from 0 to 3, got '9' and '4'"),
        ({"img_ids": "475546\nnine\n10\n11"}, "line 2: expected an image id and a type from 0 to 3, got 'nine' and '1'"),
        ({"answers": "table\n\nred\nroom"}, "line 2: a question needs 'answer', got ''"),
    ],
)
def test_a_broken_line_of_coco_qa_is_told(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    folder = write_coco_qa(tmp_path, "train", **changed)
    told: list[str] = []
    assert [question.answer for question in read_coco_qa(folder, "train", told.append)] == ["table", "red", "room"]
    assert told == [f"{folder / 'train'}, {message}"]
    with pytest.raises(ValueError, match="line 2"):
        list(read_coco_qa(folder, "train"))


def write_easy(folder: Path, text: str) -> Path:
    (folder / "test").mkdir()
    (folder / "test" / "questions.json").write_text(text, encoding="utf-8")
    return folder


def test_easy_vqa(tmp_path: Path) -> None:
    records = [
        ["what is the blue shape?", "rectangle", 0],
        ["what color is the shape?", "teal", 0],
        ["is there a circle?", "no", 12],
        ["what is it?", "star", 13],
    ]
    found = list(read_easy_vqa(write_easy(tmp_path, json.dumps(records)), "test"))
    assert found[2] == Question("test/images/12.png", "is there a circle?", "no", "yes/no", split="test")
    assert [question.type for question in found] == ["object", "colour", "yes/no", ""]


@pytest.mark.parametrize("record", [["what?", "red"], ["what?", "red", "7"], ["what?", 7, 7], {"question": "what?"}, None])
def test_a_broken_record_of_easy_vqa_is_told(tmp_path: Path, record: Any) -> None:
    folder = write_easy(tmp_path, json.dumps([["what?", "red", 7], record]))
    told: list[str] = []
    assert len(list(read_easy_vqa(folder, "test", told.append))) == 1
    assert len(told) == 1
    assert "questions.json, question 2: expected [question, answer, image id], got" in told[0]
    with pytest.raises(ValueError, match="question 2"):
        list(read_easy_vqa(folder, "test"))


@pytest.mark.parametrize(
    ("text", "message"),
    [('[["what?", "red", 7], ["wh', "cut short or broken"), ('{"a": 1}', r"expected a list of \[question, answer, image id\]")],
)
def test_an_easy_vqa_file_that_is_not_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"questions\.json: .*{message}"):
        list(read_easy_vqa(write_easy(tmp_path, text), "test", on_skip=lambda said: None))


@pytest.mark.parametrize("read", [read_coco_qa, read_easy_vqa])
def test_another_split(tmp_path: Path, read: Any) -> None:
    with pytest.raises(ValueError, match="expected the split train or test, got 'val'"):
        list(read(tmp_path, "val"))
