"""Agreement between the maps of a study: on a table written by hand, every correlation is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

from multimodal_cam.study.measure.run_agreement import COLUMNS, measure_agreement  # noqa: E402
from multimodal_cam.study.report.agreement_section import agreement_blocks  # noqa: E402
from multimodal_cam.study.report.document import DataTable, Heading  # noqa: E402
from multimodal_cam.study.schema import table_schemas  # noqa: E402

UP, DOWN, NONE = [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]
NIC, SAT, ATTENTION = ("nic", "grad_cam"), ("sat", "grad_cam"), ("sat", "attention")


def row(run: tuple[str, str], head: int, cells: list[float], **changes: Any) -> dict[str, Any]:
    about = {"image": "a.jpg", "text": 0, "caption": "a dog and a ball", "head": head, "start": head, "stop": head + 1}
    names = {"model": run[0], "method": run[1], "score": "log_prob", "span": "word", "thing": str(head), "right": None}
    return about | names | {"grid": [2, 2], "map": np.array(cells, dtype=np.float16)} | changes


def write(folder: Path, *groups: list[dict[str, Any]]) -> Path:
    schema = pa.schema([table_schemas([])["results"].field(name) for name in COLUMNS])
    with pa.parquet.ParquetWriter(folder / "results.parquet", schema) as writer:
        for group in groups:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return folder


def test_the_same_word_between_models_methods_and_another_word(tmp_path: Path) -> None:
    first = [
        row(NIC, 1, UP),
        row(NIC, 4, DOWN),
        row(SAT, 1, UP),
        row(SAT, 4, DOWN),
        row(ATTENTION, 1, DOWN),
        row(ATTENTION, 4, NONE),
    ]
    second = [row(NIC, 1, UP, image="b.jpg"), row(SAT, 1, [1.0, 2.0, 4.0, 3.0], image="b.jpg"), row(SAT, 3, UP, image="b.jpg")]
    found = measure_agreement(write(tmp_path, first, second), right_only=False)
    nic, sat, attention = ((*run, "log_prob", "word") for run in (NIC, SAT, ATTENTION))
    assert set(found.same) == {(nic, sat), (attention, sat)}  # not those that differ in two things
    assert found.same[nic, sat].numbers == pytest.approx([1, 1, 0.8])  # 1 - 6 * 2 / (4 * 15)
    assert found.other[nic, sat].numbers == pytest.approx([-1, -1, 1])
    assert found.same[attention, sat].numbers == pytest.approx([-1, np.nan], nan_ok=True)
    assert found.words[nic].numbers == pytest.approx([-1])  # the second photo has one word
    assert found.words[sat].numbers == pytest.approx([-1, 0.8])
    blocks = list(agreement_blocks(found, seed=0))
    tables = {
        title.text: grid.rows
        for title, grid in zip(blocks, blocks[1:], strict=False)
        if isinstance(grid, DataTable) and isinstance(title, Heading)
    }
    assert tables["Between models"][0][2].startswith("0.933")
    assert tables["With the model's own attention"][0][2].startswith("-1.000")


def test_words_of_one_thing_are_no_pair_and_grids_may_differ(tmp_path: Path) -> None:
    fine = np.kron(np.array(UP).reshape(2, 2), np.ones((2, 2))).ravel().tolist()
    table = [row(NIC, 1, UP, thing="x"), row(NIC, 4, UP, thing="x"), row(SAT, 1, fine, grid=[4, 4], thing="x")]
    found = measure_agreement(write(tmp_path, table), right_only=False)
    (same,), (other,) = found.same.values(), found.other.values()
    assert 0.9 < same.numbers[0] <= 1
    assert np.isnan(other.numbers).all()
    assert not found.words["nic", "grad_cam", "log_prob", "word"].numbers


def test_answers_are_compared_over_the_questions_of_a_photo(tmp_path: Path) -> None:
    table = [
        row(NIC, 0, UP, text=0, caption="red", right=True),
        row(NIC, 0, DOWN, text=1, caption="blue", thing="other", right=True),
        row(NIC, 0, UP, text=2, caption="wrong", thing="third", right=False),
    ]
    found = measure_agreement(write(tmp_path, table), right_only=True)
    assert found.words["nic", "grad_cam", "log_prob", "word"].numbers == pytest.approx([-1])


def test_a_caption_of_its_own_is_no_one_else_s(tmp_path: Path) -> None:
    table = [row(NIC, 1, UP), row(SAT, 1, UP, caption="a cat and a ball")]
    assert not next(iter(measure_agreement(write(tmp_path, table), right_only=False).same.values())).numbers
