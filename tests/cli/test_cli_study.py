"""The commands `study captions`, `study vqa`, `study report` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import networks
import pytest
import test_study
from test_cli import run

from multimodal_cam.data.readers.question_record import Question, write_questions

pq = pytest.importorskip("pyarrow.parquet")

MODEL = ["--models", "test_study:planted", "--device", "cpu", "--controls", "other_word", "--metrics", "pointing"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = test_study.make_photos(tmp_path_factory.mktemp("study") / "data", 3)
    (data / "split.txt").write_text("0.jpg\n2\n")
    return data


def captions(photos: Path, out: Path, *more: str) -> list[str | Path]:
    given = ["--images", photos / "images", "--entities", photos, "--split", photos / "split.txt", "--out", out]
    return ["study", "captions", *given, *MODEL, "--methods", "grad_cam", *more]


def test_from_the_command_to_the_report_and_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    dry = run(*captions(photos, out, "--dry-run"))
    assert dry.stdout.splitlines()[0] == f"2 of 2 photos in 1 shards of 64 to measure, into {out}"
    assert not out.exists()
    done = run(*captions(photos, out))
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(out / "report.html")]
    assert pq.read_table(out / "results.parquet").num_rows == 8
    said = json.loads((out / "run.json").read_text())
    assert said["finished"]
    assert {"split", "model test_study:planted"} <= said["files"].keys()
    (out / "report.md").unlink()
    assert run("study", "report", out).exit_code == 0
    assert (out / "report.md").is_file()
    other = run(*captions(photos, out, "--limit", "1"))
    assert other.exit_code == 1
    assert "holds another study (photos and what is known of them" in other.stderr


def test_question_record(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    networks.quadrant_image().save(tmp_path / "images" / "a.png")
    box = (0.0, 0.0, 0.5, 0.5)
    write_questions([Question("a.png", "what colour is top left?", "red", "colour", boxes=(box,))], tmp_path / "q.jsonl")
    model = ["--models", "test_study:planted_vqa", *MODEL[2:]]
    done = run(
        "study", "vqa", "--images", tmp_path / "images", "--questions", tmp_path / "q.jsonl", "--out", tmp_path / "o", *model
    )
    assert done.exit_code == 0, done.output
    assert {r["method"] for r in pq.read_table(tmp_path / "o" / "results.parquet").to_pylist()} == {"grad_cam", "evidence"}


def test_faithfulness_and_variants_by_name(photos: Path, tmp_path: Path) -> None:
    dry = run(
        *captions(photos, tmp_path / "out", "--faithfulness", "--canvas", "layer", "--methods", "grad_cam:pool=max"), "--dry-run"
    )
    assert "methods: grad_cam:pool=max" in dry.stdout
    assert "metrics: pointing, deletion, insertion, average_drop, increase, road_morf" in dry.stdout
    wrong = run(*captions(photos, tmp_path / "out", "--methods", "grad_cam:pool=min"), "--dry-run")
    assert wrong.exit_code == 1
    assert "cannot read 'grad_cam:pool=min'" in wrong.stderr


def test_the_preset_says_what_it_will_run(photos: Path, tmp_path: Path) -> None:
    dry = run(*captions(photos, tmp_path / "out", "--models", "nic", "--preset", "ablations", "--dry-run"))
    assert "models: nic, multimodal_cam.study.ablations:nic_14x14, multimodal_cam.study.ablations:nic_7x7" in dry.stdout
    assert "grad_cam:layer=encoder.trunk.3" in dry.stdout
    assert "evidence:n_steps=16" in dry.stdout
    assert "scores: logit, log_prob, contrast" in dry.stdout


def test_map_similarity(tmp_path: Path) -> None:
    import test_study_sanity

    data, out = test_study_sanity.photos(tmp_path / "data"), tmp_path / "out"
    given = ["--images", data / "images", "--entities", data, "--models", "test_study_sanity:blind", "--methods", "attention"]
    done = run("study", "sanity", *given, "--out", out, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(out / "sanity.html")]


def test_boxes_must_come_from_somewhere(photos: Path, tmp_path: Path) -> None:
    done = run("study", "captions", "--images", photos / "images", "--out", tmp_path / "out", *MODEL)
    assert done.exit_code == 2
    assert "--entities" in done.stderr


def test_what_is_no_study_has_no_report(tmp_path: Path) -> None:
    done = run("study", "report", tmp_path)
    assert done.exit_code == 1
    assert "run.json is missing" in done.stderr
