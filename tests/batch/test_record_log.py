"""results.jsonl: appended line by line, read by the next run, put in order in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multimodal_cam.batch.batch_settings import BatchItem
from multimodal_cam.batch.record_log import RecordLog, is_replaced, photo_facts

A, B, C = BatchItem("a.jpg"), BatchItem("b.jpg"), BatchItem("b.jpg", "why?")


def told(item: BatchItem, **more: Any) -> dict[str, Any]:
    return {"image": item.image, **({"question": item.question} if item.question else {}), **more}


def test_what_is_written_is_found_again(tmp_path: Path) -> None:
    log = RecordLog(tmp_path)
    for item in (C, A, B):
        log.append(item, told(item, text="it"))
    again = RecordLog(tmp_path)
    assert again.done() == [C, A, B]
    again.sort([A, B, C])
    assert [found.get("question") for found in again.records([B, C])] == [None, "why?"]
    assert RecordLog(tmp_path).done() == [A, B, C]


def test_half_a_line_of_a_killed_run_is_written_over(tmp_path: Path) -> None:
    log = RecordLog(tmp_path)
    log.append(A, told(A, text="a"))
    with log.path.open("a") as file:
        file.write('{"image": "b.j')
    again = RecordLog(tmp_path)
    assert again.done() == [A]
    again.append(B, told(B, text="b"))
    assert RecordLog(tmp_path).done() == [A, B]


def test_failures_are_told_and_tried_again(tmp_path: Path) -> None:
    log = RecordLog(tmp_path)
    log.append(A, told(A, error="damaged"))
    log.append(B, told(B, text="b"))
    assert RecordLog(tmp_path).done() == [B]
    log.append(A, told(A, text="a"))
    log.append(B, told(B, error="moved away"))  # hides nothing
    log.sort([A, B])
    assert [found["text"] for found in RecordLog(tmp_path).records([A, B])] == ["a", "b"]


def test_a_damaged_line_is_said(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"image": "a.jpg"}\nnonsense\n')
    with pytest.raises(ValueError, match=r"results.jsonl', line 2, is damaged"):
        RecordLog(tmp_path)


def test_another_photo_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"one")
    record = {"image": str(photo), "file": photo_facts(str(photo))}
    later = photo.stat().st_mtime + 1
    assert not is_replaced(record, later)
    photo.write_bytes(b"four")
    assert is_replaced(record, later)
    photo.write_bytes(b"two")
    assert is_replaced(record, photo.stat().st_mtime)
    photo.write_bytes(b"one")
    assert not is_replaced(record, photo.stat().st_mtime)
    photo.unlink()
    assert not is_replaced(record, later)
