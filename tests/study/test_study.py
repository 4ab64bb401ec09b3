"""The study on planted models: each word depends on one quadrant, so that every number is known beforehand."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import test_caption_quality
import torch
from PIL import Image

pq = pytest.importorskip("pyarrow.parquet")

from multimodal_cam.core.geometry import squeeze  # noqa: E402
from multimodal_cam.data.readers.coco import CocoObject, read_coco  # noqa: E402
from multimodal_cam.data.readers.question_record import Question  # noqa: E402
from multimodal_cam.metrics.localization import points_at  # noqa: E402
from multimodal_cam.study.config import Settings  # noqa: E402
from multimodal_cam.study.measure.controls import CONTROLS, blind_maps  # noqa: E402
from multimodal_cam.study.measure.metric_spec import MetricColumn  # noqa: E402
from multimodal_cam.study.measure.placement import METRICS, measure_maps, pointing_hits  # noqa: E402
from multimodal_cam.study.report.gallery import cases  # noqa: E402
from multimodal_cam.study.report.result_table import ResultTable  # noqa: E402
from multimodal_cam.study.report.spec_tables import control_table, metric_table  # noqa: E402
from multimodal_cam.study.report.study_report import write_report  # noqa: E402
from multimodal_cam.study.runner import result_store, study_run  # noqa: E402
from multimodal_cam.study.runner.result_store import open_store, to_table  # noqa: E402
from multimodal_cam.study.schema import METRIC_SPECS, box_size, metric_columns, table_schemas  # noqa: E402
from multimodal_cam.study.sources.photo_list import StudyPhoto, chunked, listed_photos, question_photos  # noqa: E402

TESTS = Path(__file__).parents[1]
PATHS = os.pathsep.join(str(TESTS / name) for name in ("study", "evaluation", "support"))
MODEL = "test_study:planted"


def planted() -> Any:
    """`dog` reads the upper left quadrant, `ball` the lower right one."""
    return test_caption_quality.planted()


def planted_vqa() -> Any:
    """Says which colour is in the quadrant that the question names."""
    torch.manual_seed(0)
    return networks.planted_vqa()


def make_photos(folder: Path, count: int) -> Path:
    """Photos with the boxes of test_caption_quality: a dog in the upper left, a ball in the lower right."""
    for part in ("images", "Annotations", "Sentences"):
        (folder / part).mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (100, 100), "white").save(folder / "images" / f"{i}.jpg")
        (folder / "Annotations" / f"{i}.xml").write_text(test_caption_quality.XML)
        (folder / "Sentences" / f"{i}.txt").write_text(test_caption_quality.SENTENCE)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("study") / "data", 5)


def settings(photos: Path, **changes: Any) -> Settings:
    given = Settings(
        task="captions",
        images=str(photos / "images"),
        entities=str(photos),
        models=(MODEL,),
        methods=("grad_cam",),
        scores=("log_prob",),
        metrics=("pointing", "energy"),
        controls=tuple(CONTROLS),
        shard_size=2,
        batch_size=2,
        device="cpu",
    )
    return replace(given, **changes)


def rows(folder: Path, name: str = "results") -> list[dict[str, Any]]:
    return list(pq.read_table(folder / f"{name}.parquet").to_pylist())


@pytest.fixture(scope="module")
def done(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("done") / "out"
    return study_run.run_study(settings(photos), listed_photos(None, photos, {}), out)


# ---- measures -------------------------------------------------------------------------------------------------------------


def test_hits_is_the_pointing_game_and_fair_to_ties() -> None:
    boxes = [(0.0, 0.0, 0.4, 0.4)]
    maps = torch.randn(20, 4, 6, generator=torch.Generator().manual_seed(0))
    whole = (0.0, 0.0, 1.0, 1.0)
    assert pointing_hits(maps, boxes, whole).tolist() == [float(points_at(map, boxes)) for map in maps]
    assert pointing_hits(torch.ones(1, 4, 4), boxes, whole).item() == 4 / 16  # four of the sixteen cells' centres are in the box
    assert pointing_hits(torch.zeros(1, 4, 4), boxes, whole).item() == 0


def test_fifteen_pixels_are_pixels_of_the_photo() -> None:
    maps, boxes = torch.zeros(1, 4, 4), [(0.0, 0.0, 0.1, 1.0)]
    maps[0, 0, 0] = 1  # points at x = 1/8, 1/40 of the width beside the box: 15 pixels of 600
    found = [float(METRICS["pointing_15px"].function(maps, boxes, squeeze(width, 100))) for width in (590, 610)]
    assert found == [1, 0]
    tall = [(0.0, 0.2, 1.0, 1.0)]  # y = 1/8, 0.075 of the height above the box: 15 pixels of 200
    assert [float(METRICS["pointing_15px"].function(maps, tall, squeeze(1000, height))) for height in (190, 210)] == [1, 0]


def test_the_centre_points_at_the_centre() -> None:
    maps = blind_maps((7, 7), squeeze(10, 10))
    assert maps["centre"].argmax() == 24
    assert maps["uniform"].unique().tolist() == [1]


def test_every_metric_takes_a_stack_and_leaves_nan_alone() -> None:
    maps = [torch.rand(5, 5), torch.full((5, 5), torch.nan)]
    found = measure_maps(maps, [(0.1, 0.1, 0.5, 0.6)], squeeze(100, 80), list(METRICS))
    assert all(math.isfinite(values[0]) and math.isnan(values[1]) for values in found.values())


# ---- captions -------------------------------------------------------------------------------------------------------------


def test_a_row_for_each_photo_word_method_and_score(done: Path) -> None:
    found = rows(done)
    assert len(found) == 5 * 2 * 2  # photos, targets, spans
    assert len({(r["image"], r["text"], r["head"], r["span"], r["model"], r["method"], r["score"]) for r in found}) == len(found)
    assert {r["word"] for r in found} == {"dog", "ball"}
    assert not rows(done, "errors")
    reasons = {why: sum(r["count"] for r in rows(done, "left_out") if r["why"] == why) for why in ("no box", "no noun")}
    assert reasons == {"no box": 5, "no noun": 5}


def test_planted_words_hit_and_controls_do_not(done: Path) -> None:
    for row in rows(done):
        assert row["pointing"] == 1
        assert row["energy"] == pytest.approx(0.64)  # of the quadrant 0.5 x 0.5 the box has 0.4 x 0.4
        assert (row["pointing__centre"], row["pointing__uniform"]) == (0.25, 0.25)  # on 2 x 2 cells all are alike
        assert row["pointing__other_word"] == 0
        assert row["off_centre"]
        assert (row["area"], row["size"]) == (pytest.approx(0.16), "more")
        assert row["pointing__other_photo"] == (1 if row["image"] != "4.jpg" else None) or math.isnan(
            row["pointing__other_photo"]
        )
        assert np.array(row["map"]).reshape(row["grid"]).shape == (2, 2)


def test_captions_cut_short_leave_phrases_out(photos: Path, tmp_path: Path) -> None:
    out = study_run.run_study(settings(photos, max_words=2), listed_photos(None, photos, {})[:1], tmp_path / "out")
    assert {row["word"] for row in rows(out)} == {"dog"}
    assert [(r["why"], r["count"]) for r in rows(out, "left_out")] == [("after the last word that fits", 4)]
    assert all(row["pointing__other_word"] is None for row in rows(out))


def test_own_captions_are_aligned_by_head_noun(photos: Path, tmp_path: Path) -> None:
    run = settings(photos, own_captions=True, models=("test_study:talkative",))
    out = study_run.run_study(run, listed_photos(None, photos, {})[:2], tmp_path / "out")
    found = rows(out)
    assert {(row["caption"], row["word"], row["phrase"]) for row in found} == {("a dog on the grass", "dog", "a dog")}
    assert all(row["in_human_caption"] and row["pointing"] == 1 for row in found)
    assert [(r["why"], r["count"]) for r in rows(out, "left_out")] == [("head noun names nothing with a box", 1)] * 2


def test_nouns_of_own_captions_are_in_a_human_caption_or_not(tmp_path: Path) -> None:
    data = make_photos(tmp_path / "data", 3)
    for i in (1, 2):
        (data / "Sentences" / f"{i}.txt").write_text("Two [/EN#1/people dogs] with [/EN#2/other the ball] .\n")
    run = settings(data, own_captions=True, models=("test_study:talkative",), methods=("grad_cam", "evidence"))
    out = study_run.run_study(run, listed_photos(None, data, {}), tmp_path / "out")
    found = {(r["image"], r["word"], r["in_human_caption"]) for r in rows(out, "nouns")}
    assert found == {(f"{i}.jpg", word, word == "dog" or i == 0) for i in range(3) for word in ("dog", "grass")}
    assert len(rows(out, "nouns")) == 3 * 2 * 2
    seen = {(r["word"], r["method"]): r["peak"] for r in rows(out, "nouns")}
    assert seen["dog", "grad_cam"] == 1  # one cell of four
    assert math.isnan(seen["grass", "grad_cam"])
    assert "The word is in a human caption" in write_report(out).read_text()


def talkative() -> Any:
    """Says one caption about all photos; the grass has no box."""
    model = planted()
    model.generate = lambda inputs, **options: model.tokenize(["a dog on the grass"] * len(inputs))
    return model


def test_controls_that_cost_can_be_left_out(photos: Path, tmp_path: Path) -> None:
    out = study_run.run_study(settings(photos, controls=("other_word",)), listed_photos(None, photos, {})[:2], tmp_path / "out")
    assert all(r["pointing__other_word"] == 0 and r["pointing__random_weights"] is None for r in rows(out))


def test_the_head_alone_is_shuffled() -> None:
    from multimodal_cam.study.measure.row_maps import encode, random_twin, text_rows

    model = networks.small_captioner()
    inputs, ids = model.preprocess([networks.noise_image()]), model.tokenize(["a dog runs"])
    before = {name: p.clone() for name, p in model.module.named_parameters()}
    twin = random_twin(model, text_rows(model, inputs, ids, encode(model, inputs, ids), []), seed=0)
    changed = {name for name, p in twin.module.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all(name.startswith("decoder") for name in changed)
    assert all(torch.equal(p, before[name]) for name, p in model.module.named_parameters())


def test_methods_without_a_map_of_their_own_are_skipped_by_name(photos: Path, tmp_path: Path) -> None:
    run = settings(photos, methods=("grad_cam", "attention"))
    out = study_run.run_study(run, listed_photos(None, photos, {})[:2], tmp_path / "out")
    write_report(out)
    assert f"{MODEL} has no attention: skipped." in (out / "report.md").read_text()


def attending() -> Any:
    """`planted` with attention that is on the upper right, whatever is said."""
    model = planted()
    corner = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    model.attention = lambda inputs, ids, activations: corner.expand(*ids.shape, 2, 2)
    return model


def test_attention_of_models_that_attend_and_its_lack_in_others(photos: Path, tmp_path: Path) -> None:
    run = settings(photos, models=(MODEL, "test_study:attending"), methods=("grad_cam", "attention"))
    found = rows(study_run.run_study(run, listed_photos(None, photos, {})[:2], tmp_path / "out"))
    assert {(row["model"], row["method"], row["pointing"]) for row in found} == {
        (MODEL, "grad_cam", 1),
        ("test_study:attending", "grad_cam", 1),
        ("test_study:attending", "attention", 0),
    }
    with pytest.raises(ValueError, match=f"{MODEL} has no attention: give it another"):
        study_run.run_study(replace(run, methods=("attention",)), listed_photos(None, photos, {}), tmp_path / "other")


# ---- questions ------------------------------------------------------------------------------------------------------------


def test_answers_and_other_questions(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    networks.quadrant_image().save(tmp_path / "images" / "a.png")
    places = {"top left": ("red", (0.0, 0.0, 0.5, 0.5)), "bottom right": ("white", (0.5, 0.5, 1.0, 1.0))}
    questions = [Question("a.png", f"what colour is {p}?", c, "colour", boxes=(box,)) for p, (c, box) in places.items()]
    run = settings(tmp_path, task="vqa", entities="", models=("test_study:planted_vqa",), scores=("logit",))
    out = study_run.run_study(run, question_photos(questions), tmp_path / "out")
    found = rows(out)
    assert [row["word"] for row in found] == ["red", "white"]
    assert all(row["right"] and row["pointing"] == 1 and row["pointing__other_word"] == 0 for row in found)
    assert all(row["pointing__other_answer"] == 0 for row in found)
    assert write_report(out).is_file()


# ---- what goes wrong ------------------------------------------------------------------------------------------------------


def test_a_broken_photo_is_a_row_and_not_the_end(photos: Path, tmp_path: Path) -> None:
    data = make_photos(tmp_path / "data", 3)
    (data / "images" / "1.jpg").write_bytes(b"no photo")
    (data / "Annotations" / "2.xml").write_text("<no xml")
    out = study_run.run_study(settings(data), listed_photos(None, data, {}), tmp_path / "out")
    assert {row["image"] for row in rows(out)} == {"0.jpg"}
    errors = {row["image"]: row["message"] for row in rows(out, "errors")}
    assert "1.jpg" in errors["1.jpg"]
    assert "not well-formed XML" in errors["2.jpg"]


def test_a_photo_at_which_the_model_fails_leaves_the_others_together(photos: Path, tmp_path: Path) -> None:
    data = make_photos(tmp_path / "data", 3)
    (data / "Sentences" / "1.txt").write_text("[/EN#1/people A dog's dinner-plate] and [/EN#2/other the ball]\n")
    run = settings(data, models=("test_study:picky",), shard_size=3, batch_size=3)
    out = study_run.run_study(run, listed_photos(None, data, {}), tmp_path / "out")
    assert {row["image"] for row in rows(out)} == {"0.jpg", "2.jpg"}
    assert [(row["image"], row["kind"]) for row in rows(out, "errors")] == [("1.jpg", "ValueError")]
    assert all(row["pointing__other_photo"] == 1 for row in rows(out))


def picky() -> Any:
    model = planted()
    tokenize = model.tokenize

    def refuse(texts: list[str], unknown: str = "error") -> Any:
        if any("dinner" in text for text in texts):
            raise ValueError("no dinner")
        return tokenize(texts, unknown)

    model.tokenize = refuse
    return model


def test_another_command_in_the_same_folder_is_refused(photos: Path, done: Path) -> None:
    items = listed_photos(None, photos, {})
    with pytest.raises(FileExistsError, match=r"methods: there grad_cam, now hires_cam"):
        study_run.run_study(settings(photos, methods=("hires_cam",)), items, done)
    with pytest.raises(FileExistsError, match="photos and what is known of them"):
        study_run.run_study(settings(photos), items[:3], done)
    before = (done / "results.parquet").stat().st_mtime_ns
    study_run.run_study(settings(photos), items, done)
    assert (done / "results.parquet").stat().st_mtime_ns == before


def test_two_at_once_and_foreign_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    run = study_run.run_record(settings(photos), [], {})
    with (
        open_store(tmp_path / "out", run, ["pointing"]),
        pytest.raises(BlockingIOError, match="another process is writing"),
        open_store(tmp_path / "out", run, ["pointing"]),
    ):
        pass
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds no study"), open_store(tmp_path / "mine", run, ["pointing"]):
        pass


def test_a_full_disk_is_said_and_what_was_done_stays(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multimodal_cam.study.runner import result_store as store

    write, items = store.pq.write_table, listed_photos(None, photos, {})

    def full(table: Any, path: Path, **options: Any) -> None:
        if "000001" in str(path):
            raise OSError(28, "No space left on device")
        write(table, path, **options)

    monkeypatch.setattr(store.pq, "write_table", full)
    with pytest.raises(OSError, match="what was measured so far stays; free some space"):
        study_run.run_study(settings(photos), items, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["000000"]
    monkeypatch.undo()
    assert len(rows(study_run.run_study(settings(photos), items, tmp_path / "out"))) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("gradcam",)}, "unknown methods gradcam; choose from"),
        ({"scores": ()}, "scores: expected one or more"),
        ({"metrics": ("pointing", "pointing")}, "metrics: expected one or more, each once"),
        ({"models": (MODEL, MODEL)}, "models: expected each once"),
    ],
)
def test_names_are_checked_before_anything_runs(photos: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study_run.run_study(settings(photos, **change), listed_photos(None, photos, {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- COCO -----------------------------------------------------------------------------------------------------------------


def coco(folder: Path) -> tuple[Path, Path]:
    image = {"id": 7, "file_name": "000000000007.jpg", "width": 100, "height": 50}
    captions = {"images": [image], "annotations": [{"image_id": 7, "id": 1, "caption": "A dog and the ball\n"}]}
    boxes = [
        {"image_id": 7, "category_id": 18, "bbox": [0, 0, 40, 20], "iscrowd": 0},
        {"image_id": 7, "category_id": 37, "bbox": [60, 30, 40.1, 20], "iscrowd": 0},
        {"image_id": 7, "category_id": 18, "bbox": [0, 0, 100, 50], "iscrowd": 1},
    ]
    kinds = [
        {"id": 18, "name": "dog", "supercategory": "animal"},
        {"id": 37, "name": "sports ball", "supercategory": "sports"},
    ]
    paths = folder / "captions.json", folder / "instances.json"
    paths[0].write_text(json.dumps(captions))
    paths[1].write_text(json.dumps({"images": [image], "annotations": boxes, "categories": kinds}))
    return paths


def test_coco_in_its_own_layout(tmp_path: Path) -> None:
    ((image, captions, things),) = read_coco(*coco(tmp_path))
    assert (image, captions) == ("000000000007.jpg", ("A dog and the ball",))
    assert things[0] == CocoObject(frozenset({"dog"}), ((0.0, 0.0, 0.4, 0.4),), "animal", "dog")
    assert things[1].boxes == ((0.6, 0.6, 1.0, 1.0),)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (100, 50)).save(tmp_path / "images" / image)
    out = study_run.run_study(settings(tmp_path, entities=""), [StudyPhoto(image, captions, things)], tmp_path / "out")
    assert {(row["word"], row["type"], row["pointing"]) for row in rows(out)} == {("dog", "animal", 1), ("ball", "sports", 1)}


def test_coco_cut_short_is_said(tmp_path: Path) -> None:
    captions, instances = coco(tmp_path)
    captions.write_text(captions.read_text()[:50])
    with pytest.raises(ValueError, match="is not whole JSON"):
        list(read_coco(captions, instances))
    with pytest.raises(ValueError, match="expected COCO's images, annotations, categories, missing: categories"):
        list(read_coco(coco(tmp_path)[0], captions))


# ---- kills and engines ----------------------------------------------------------------------------------------------------

COMMAND = """
import os, sys, time
sys.path[:0] = sys.argv[1].split(os.pathsep)
import test_study
from multimodal_cam.study.runner import shard_worker, study_run
measure = shard_worker.ShardWorker.__call__
def slowly(self, *args):
    print("measuring", flush=True)
    time.sleep(0.1)  # so that kills hit at every stage
    return measure(self, *args)
shard_worker.ShardWorker.__call__ = slowly
folder = test_study.Path(sys.argv[2])
study_run.run_study(test_study.settings(folder), test_study.listed_photos(None, folder, {}), test_study.Path(sys.argv[3]))
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    data = make_photos(tmp_path / "data", 24)
    whole = study_run.run_study(settings(data), listed_photos(None, data, {}), tmp_path / "whole")
    dice, out, kills, measurements = random.Random(0), tmp_path / "out", 0, 0
    command = [sys.executable, "-c", COMMAND, PATHS, str(data), str(out)]
    while kills < 30:
        before = {path.name: path.stat().st_mtime_ns for path in out.glob("shards/0*")}
        with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            heard = [process.stdout.readline() for _ in range(dice.randint(1, 6))]  # however slow the machine is, it gets on
            try:
                process.wait(dice.uniform(0, 0.3))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
            measurements += sum(map(bool, heard + process.stdout.readlines()))
        if process.returncode == 0:
            break
        after = {path.name: path.stat().st_mtime_ns for path in out.glob("shards/0*")}
        assert before.items() <= after.items(), "a whole shard was measured again, or lost"
    assert process.returncode == 0
    assert kills > 0
    assert measurements <= 12 + kills  # no more than the unfinished shard of each
    assert pq.read_table(out / "results.parquet").equals(pq.read_table(whole / "results.parquet"))
    tables = {"results.parquet", "nouns.parquet", "errors.parquet", "left_out.parquet"}
    assert {path.name for path in out.iterdir()} == {".multimodal-cam", ".multimodal-cam.lock", "run.json", *tables}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, about itself
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_several_workers_write_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", PATHS)
    for patience in ("RAY_agent_register_timeout_ms", "RAY_raylet_start_wait_time_s"):  # on a busy machine its start takes long
        monkeypatch.setenv(patience, "300000" if patience.endswith("ms") else "300")
    data = make_photos(tmp_path / "data", 6)
    items = listed_photos(None, data, {})
    tables = []
    for name, workers in (("local", 1), (engine, 2)):
        out = study_run.run_study(settings(data), items, tmp_path / f"{name}{workers}", engine=name, workers=workers)
        tables.append(pq.read_table(out / "results.parquet"))
    for name in tables[0].column_names:
        one, other = (table[name].to_pylist() for table in tables)
        assert one == pytest.approx(other, nan_ok=True) if isinstance(one[0], float) else one == other


def test_a_photo_that_was_absent_is_tried_again_when_the_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_photos(tmp_path / "data", 4)
    items, absent = listed_photos(None, data, {}), next((tmp_path / "data").glob("**/*.jpg"))
    whole = study_run.run_study(settings(data), items, tmp_path / "whole")
    absent.rename(tmp_path / "elsewhere.jpg")
    with monkeypatch.context() as stopped:
        stopped.delattr(result_store.ResultStore, "finish")
        with pytest.raises(AttributeError, match="finish"):
            study_run.run_study(settings(data), items, tmp_path / "out")
    assert study_run.remaining_work(settings(data), items, tmp_path / "out")[1] == 1
    (tmp_path / "elsewhere.jpg").rename(absent)
    out = study_run.run_study(settings(data), items, tmp_path / "out")
    assert study_run.failed_photos(out) == {}
    assert pq.read_table(out / "results.parquet").equals(pq.read_table(whole / "results.parquet"))


def test_shards_are_cut_at_the_same_places() -> None:
    assert [list(part) for part in chunked([StudyPhoto(str(i)) for i in range(5)], 2)][2] == [StudyPhoto("4")]


# ---- report ---------------------------------------------------------------------------------------------------------------


def test_the_report_is_made_from_the_tables(done: Path) -> None:
    page = write_report(done).read_text()
    text = (done / "report.md").read_text()
    assert "| grad_cam | 1.000 [1.000, 1.000] | 0.640" in text
    assert "grad_cam: other_word | 0.000" in text
    assert "+1.000 [+1.000, +1.000]" in text
    assert "5 photos, 5 of them with targets; 10 targets" in text
    assert page.count("<img") == text.count("![")
    assert 'src="data:image/png;base64,' in page
    again = write_report(done)
    assert again.read_text() == page


def test_the_best_case_is_no_box_as_large_as_the_photo() -> None:
    run = ("nic", "grad_cam", "logit", "word")
    columns = {"image": [0, 1, 2, 2], "energy": [1.0, 0.6, 0.3, 0.7], "energy__uniform": [1.0, 0.1, 0.4, 0.1]}
    table = ResultTable({name: np.array(values) for name, values in columns.items()}, {run: np.arange(4)}, 0)
    found = cases(table, run, "energy")
    assert found["best"] == [3, 1, 0]  # photo 2 has two words, one of them is enough
    assert found["worst"] == [2, 0, 1]
    columns["energy__uniform"] = [np.nan] * 4  # no such control: as they are
    table = ResultTable({name: np.array(values) for name, values in columns.items()}, {run: np.arange(4)}, 0)
    assert cases(table, run, "energy")["best"] == [0, 3, 1]


def test_photos_that_went_are_left_out_of_the_gallery(tmp_path: Path) -> None:
    data = make_photos(tmp_path / "data", 2)
    out = study_run.run_study(settings(data), listed_photos(None, data, {}), tmp_path / "out")
    for path in (data / "images").iterdir():
        path.unlink()
    write_report(out)
    assert "gallery/" not in (out / "report.md").read_text()


def test_no_report_of_what_is_not_done(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run\.json is missing"):
        write_report(tmp_path)
    with open_store(tmp_path / "out", study_run.run_record(settings(photos), [], {}), ["pointing"]):
        pass
    with pytest.raises(ValueError, match="is not done"):
        write_report(tmp_path / "out")


# ---- the tables of what is measured ---------------------------------------------------------------------------------------


def test_a_column_that_is_not_declared_is_an_error() -> None:
    declared = table_schemas(["energy"])["results"]
    assert to_table("results", [{"image": "a.jpg", "energy__centre": 0.5}], declared)["energy__centre"].to_pylist() == [0.5]
    with pytest.raises(ValueError, match=r"results: columns colour are not declared: give each an entry in study/schema\.py"):
        to_table("results", [{"image": "a.jpg", "colour": "red"}], declared)


def test_columns_of_metrics_are_written_and_read_by_one_function() -> None:
    columns = metric_columns(list(METRIC_SPECS))
    assert [MetricColumn.parse(column.name) for column in columns] == columns
    assert {column.name for column in columns} >= {"pointing", "pointing__other_word", "deletion__random"}


def test_names_of_sizes_say_their_limits() -> None:
    assert [box_size(area) for area in (0.049, 0.05, 0.149, 0.15, 1.0)] == ["< 5 %", "< 15 %", "< 15 %", "more", "more"]


def test_sets_of_names_are_hashed_in_one_order(photos: Path) -> None:
    thing = CocoObject(frozenset({"dog", "puppy", "hound"}), ((0, 0, 1, 1),), "animal", "1")
    script = (
        "import os, sys; sys.path[:0] = sys.argv[1].split(os.pathsep); import test_study as t; from pathlib import Path\n"
        "thing = t.CocoObject(frozenset({'dog', 'puppy', 'hound'}), ((0, 0, 1, 1),), 'animal', '1')\n"
        "print(t.study_run.hash_photos([t.StudyPhoto('a.jpg', (), (thing,))]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", script, PATHS], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == study_run.hash_photos([StudyPhoto("a.jpg", (), (thing,))])


@pytest.mark.parametrize(("name", "table"), [("metrics", metric_table), ("controls", control_table)])
def test_documented_tables_are_those_of_the_specs(name: str, table: Any) -> None:
    documented = (TESTS.parent / "docs" / "study.md").read_text(encoding="utf-8")
    assert f"<!-- generated: {name} -->\n{table()}\n<!-- end -->" in documented
