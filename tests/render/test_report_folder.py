"""Records, report folders, and which files are photos."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import networks
import pytest
from PIL import Image
from safetensors import SafetensorError
from toys import hot_cell, toy_answer

import multimodal_cam as mc
from multimodal_cam.adapters.catalog import method_rows
from multimodal_cam.core.errors import message
from multimodal_cam.core.files import RECORDS, photos_in, unused, whole_or_nothing
from multimodal_cam.render import report_folder as reports
from multimodal_cam.render.report_folder import Report
from multimodal_cam.results.json_records import peak_on_photo, record


@pytest.fixture(scope="module")
def planted() -> mc.Explanation:
    """Its words speak about one quadrant each: red NW, green NE, blue SW, white SE."""
    return mc.explain(networks.planted_captioner(), networks.quadrant_image(), text="red green blue white")


# ---- records -----------------------------------------------------------------------------------------------


def test_a_record_is_json_and_says_where_each_word_is(planted: mc.Explanation) -> None:
    found = json.loads(json.dumps(record("x.jpg", planted), allow_nan=False))
    assert found["text"] == "red green blue white"
    corners = [[round(value) for value in word["peak"]] for word in found["words"]]
    assert corners == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert {"model", "method", "score", "unit", "layer", "image", "whole", "format"} <= found.keys()
    assert "phrases" not in found


def test_numbers_agree_with_the_explanation(planted: mc.Explanation) -> None:
    word, part = record("x.jpg", planted)["words"][1], planted[1]
    assert word["score"] == pytest.approx(part.score, rel=1e-5)
    assert word["reliance"] == pytest.approx(part.reliance, rel=1e-4)
    assert word["probability"] == pytest.approx(2.718281828**part.log_prob, rel=1e-5)


def test_unknown_words_have_no_numbers() -> None:
    e = mc.explain(networks.small_captioner(), networks.noise_image(), text="a zebra", unknown="unk")
    found = json.loads(json.dumps(record("x.jpg", e), allow_nan=False))
    assert not found["words"][1]["known"]
    assert [found["words"][1][name] for name in ("score", "probability", "reliance", "peak")] == [None] * 4
    assert found["words"][0]["score"] is not None


def test_the_peak_of_an_empty_map_is_nowhere(planted: mc.Explanation) -> None:
    part = planted[0]
    object.__setattr__(part, "map", -part.map.abs())
    assert peak_on_photo(planted, part) is None


def test_a_record_of_an_answer_has_the_question_and_all_answers() -> None:
    e = toy_answer("blue", "Is the zorb blue?", score="contrast", counterfactual=True, instead_of={"blue": "red"})
    found = json.loads(json.dumps(record("x.jpg", e), allow_nan=False))
    assert found["question"] == "Is the zorb blue?"
    assert found["question_words"][2] == {"text": "zorb", "share": 0.333333, "known": False}
    assert [answer["text"] for answer in found["answers"]] == ["brown", "black", "white", "gold", "red", "blue"]
    assert found["answers"][1]["probability"] == 0.2
    assert found["answers"][1]["score"] == 2.5
    row, column = hot_cell(1)
    assert found["answers"][1]["peak"] == pytest.approx([(column + 0.5) / 14, (row + 0.5) / 14], abs=1e-4)
    assert found["instead_of"] == {"blue": "red"}
    assert found["counterfactual"] is True
    assert found["format"] == 1


def test_a_record_of_a_caption_knows_nothing_of_answers(planted: mc.Explanation) -> None:
    asked = {"question", "question_words", "answers", "instead_of", "counterfactual"}
    assert not asked & record("x.jpg", planted).keys()
    assert asked & record("x.jpg", toy_answer(question=None)).keys() == {"answers"}


def test_what_was_compared_is_saved(tmp_path: Path) -> None:
    contrast = mc.explain(networks.planted_captioner(), networks.quadrant_image(), text="red blue", instead_of={"Red": "green"})
    assert contrast.instead_of == {"red": "green"}
    assert mc.Explanation.load(contrast.save(tmp_path / "e")).instead_of == {"red": "green"}
    assert record("x.jpg", contrast)["instead_of"] == {"red": "green"}


def test_a_failure_record() -> None:
    found = record("x.jpg", mc.Failure("x.jpg", FileNotFoundError("there is\nno file")))
    assert found == {"format": 1, "image": "x.jpg", "error": "there is no file", "kind": "FileNotFoundError"}


def test_messages_are_one_line_without_key_errors_quotes() -> None:
    assert message(KeyError("no word 'dog'")) == "no word 'dog'"
    assert message(ValueError()) == "ValueError"


# ---- reports -----------------------------------------------------------------------------------------------


def test_a_report_has_pages_pictures_and_explanations(
    planted: mc.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "PHOTOS_A_PAGE", 2)
    report = Report(tmp_path)
    for name in ("a/x.jpg", "b/X.png", "index.html.jpg", ".."):
        report.add(name, planted)
    report.add("broken.jpg", mc.Failure("broken.jpg", ValueError("damaged")))
    report.finish()
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == {"x", "X-2", "index.html-2", "photo"}
    assert {path.name for path in tmp_path.iterdir()} - folders == {"index.html", "index-2.html", RECORDS}
    for folder in folders:
        assert mc.Explanation.load(tmp_path / folder).text == planted.text
        with Image.open(tmp_path / folder / "figure.png") as figure:
            assert figure.width > 100
    lines = [json.loads(line) for line in (tmp_path / RECORDS).read_text().splitlines()]
    assert [line["image"] for line in lines] == ["a/x.jpg", "b/X.png", "index.html.jpg", "..", "broken.jpg"]


# ---- folders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_whole(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "deep" / "out"
    if exists:
        target.mkdir(parents=True)
    with whole_or_nothing(target) as folder:
        (folder / "file").write_text("new")
        assert not (target / "file").exists()
    assert [path.name for path in target.iterdir()] == ["file"]
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode & 0o755 == 0o755


def half_written(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    with whole_or_nothing(target, overwrite=overwrite) as folder:
        (folder / "half").touch()
        raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"out' \(No space left on device\).*free some space"),
        (ValueError("a bug"), "a bug"),
        (KeyboardInterrupt(), "^$"),
    ],
)
def test_nothing_stays_after_an_error(tmp_path: Path, error: BaseException, words: str) -> None:
    with pytest.raises(type(error), match=words):
        half_written(tmp_path / "out", error)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_for_the_maps(planted: mc.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Report(tmp_path).add("x.jpg", planted)
    assert caught.value.errno == errno.ENOSPC


def test_what_is_there_already_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="is not empty"), whole_or_nothing(tmp_path):
        pass
    with pytest.raises(FileExistsError, match="other things"), whole_or_nothing(tmp_path, overwrite=True):
        pass
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_an_earlier_report_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / RECORDS).write_text("old")
    (tmp_path / "dog").mkdir()
    with pytest.raises(RuntimeError):
        half_written(tmp_path, RuntimeError(), overwrite=True)
    assert (tmp_path / RECORDS).read_text() == "old"
    with whole_or_nothing(tmp_path, overwrite=True) as folder:
        (folder / RECORDS).write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [RECORDS]
    assert (tmp_path / RECORDS).read_text() == "new"


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match=r"cannot write to .*/file/out' \(.+\): choose another folder"),
        whole_or_nothing(tmp_path / "file" / "out"),
    ):
        pass


def test_unused_names(tmp_path: Path) -> None:
    assert unused(tmp_path / "out") == tmp_path / "out"
    (tmp_path / "out").mkdir()
    (tmp_path / "out-2").mkdir()
    assert unused(tmp_path / "out") == tmp_path / "out-3"


def test_photos_of_folders_are_found_at_every_depth(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "deep/er/c.webp", "note.txt", ".hidden.jpg", ".git/d.jpg", "saved/image.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "saved" / "manifest.json").touch()
    found = photos_in(["nowhere.jpg", str(tmp_path)])
    assert found == ["nowhere.jpg", *(str(tmp_path / name) for name in ("a.png", "b.JPG", "deep/er/c.webp"))]


def test_a_folder_without_photos(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no photos in .*looked for \.avif"):
        photos_in([str(tmp_path)])


# ---- lists -------------------------------------------------------------------------------------------------


def test_every_method_has_a_row_with_its_paper() -> None:
    rows = method_rows()
    assert [row["name"] for row in rows] == sorted(mc.METHODS)
    assert all(any(year in row["paper"] for year in map(str, range(2015, 2027))) for row in rows)
    assert {row["name"] for row in rows if row["linear"]} == {name for name, spec in mc.METHODS.items() if spec.linear}
