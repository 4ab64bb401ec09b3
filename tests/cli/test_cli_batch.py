"""Many photos on the command line: a batch loses nothing, whatever ends it, and goes on with the same command."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networks
import pytest
import torch
from test_cli import PATHS, run

import multimodal_cam as mc
from multimodal_cam.batch import batch_folder

COUNT = 30  # photos of a run that is ended: more than it explains while its folder is looked at
MODEL = ["--model", "test_cli:tiny"]
VQA = ["--model", "test_cli_vqa:tiny"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh current folder with five photos in `photos`."""
    monkeypatch.chdir(tmp_path)
    make_photos(Path("photos"), 5)
    return tmp_path


def make_photos(folder: Path, count: int) -> None:
    folder.mkdir()
    for i in range(count):
        networks.noise_image(i).save(folder / f"{i:02}.png")


def records(folder: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "results.jsonl").read_text().splitlines()]


def assert_same(folder: str | Path, other: str | Path) -> None:
    """Both hold the same files, records, pages and explanations, up to rounding."""
    assert files_of(folder) == files_of(other)
    for one, two in zip(records(folder), records(other), strict=True):
        assert (one["image"], one.get("text"), one.get("folder")) == (two["image"], two.get("text"), two.get("folder"))
        if "folder" in one:
            maps = [mc.Explanation.load(Path(place, one["folder"])).maps for place in (folder, other)]
            torch.testing.assert_close(*maps, equal_nan=True)
    for page in Path(folder).glob("index*.html"):
        assert page.read_text() == Path(other, page.name).read_text()


def files_of(folder: str | Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.name != ".multimodal-cam.lock"}


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is raised after each explanation that is written: numbers count down to a KeyboardInterrupt."""
    left = [0]
    write = batch_folder.write_explanation

    def stop(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return write(*args, **options)

    monkeypatch.setattr(batch_folder, "write_explanation", stop)
    return left


# ---- going on ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_after_ctrl_c_the_same_command_goes_on(stopping: list[Any]) -> None:
    assert run("caption", "photos", *MODEL, "--out", "whole", "--batch-size", 2).exit_code == 0
    command = ["caption", "photos", *MODEL, "--out", "out", "--batch-size", 2]
    for first, done in ((2, 1), (3, 3)):
        stopping[0] = first
        stopped = run(*command)
        assert stopped.exit_code == 130
        assert f"stopped: {done} of 5 are in 'out'; the same command goes on from there" in stopped.stderr
        assert len(records("out")) == done
        assert Path("out", "index.html").is_file()
    last = run(*command)
    assert last.exit_code == 0
    assert "3 of 5 are in 'out' already: going on with the others" in last.stderr
    assert len(last.stdout.splitlines()) == 3  # two captions and the page
    assert_same("out", "whole")
    again = run(*command)
    assert (again.exit_code, again.stdout) == (0, f"{Path('out', 'index.html')}\n")
    assert "5 of 5 are there already: nothing is left to do" in again.stderr
    assert_same("out", "whole")


@pytest.mark.usefixtures("here")
def test_a_folder_whose_record_is_missing_is_written_again() -> None:
    """A kill between the two leaves it, and a kill right after its renaming leaves its lock, too."""
    for out in ("out", "whole"):
        assert run("caption", "photos", *MODEL, "--no-figure", "--out", out).exit_code == 0
    log = Path("out", "results.jsonl")
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:3]))
    Path("out", "04", ".multimodal-cam.lock").touch()
    done = run("caption", "photos", *MODEL, "--no-figure", "--out", "out")
    assert "3 of 5 are in 'out' already: going on" in done.stderr
    assert_same("out", "whole")


@pytest.mark.usefixtures("here")
def test_without_a_folder_the_same_command_finds_its_own(stopping: list[Any]) -> None:
    for args in (["photos/00.png", "photos/01.png"], ["photos"]):
        stopping[0] = 2
        assert run("caption", *args, *MODEL, "--no-figure").exit_code == 130
    assert run("caption", "photos", *MODEL, "--no-figure").stdout.splitlines()[-1] == str(
        Path("multimodal-cam-out-2", "index.html")
    )
    assert (len(records("multimodal-cam-out")), len(records("multimodal-cam-out-2"))) == (1, 5)


@pytest.mark.usefixtures("here")
def test_new_photos_join_a_finished_batch_and_replaced_ones_are_explained_anew() -> None:
    command = ["caption", "photos", *MODEL, "--no-figure", "--out", "out"]
    assert run(*command).exit_code == 0
    networks.noise_image(50).save("photos/005.png")  # stands between 00 and 01
    networks.noise_image(7, (44, 33)).save("photos/03.png")
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert {line.split(": ")[0] for line in done.stdout.splitlines()[:-1]} == {"photos/005.png", "photos/03.png"}
    assert [record["folder"] for record in records("out")] == ["00", "005", "01", "02", "03", "04"]
    assert mc.Explanation.load("out/03").image.size == (44, 33)
    Path("photos", "00.png").unlink()
    assert run(*command).exit_code == 0
    assert [record["folder"] for record in records("out")] == ["00", "005", "01", "02", "03", "04"]  # nothing is lost


@pytest.mark.usefixtures("here")
def test_failures_are_skipped_listed_and_tried_again() -> None:
    Path("photos", "02.png").rename("good.png")
    Path("photos", "02.png").write_bytes(b"no photo")
    command = ["caption", "photos", *MODEL, "--no-figure", "--out", "out"]
    for _ in range(2):
        done = run(*command)
        assert done.exit_code == 1
        assert "1 of 5 photos failed:\n  photos/02.png: 'photos/02.png' is no image" in done.stderr
        assert ["error" in record for record in records("out")] == [False, False, True, False, False]
    shutil.copy("good.png", "photos/02.png")
    assert run(*command).exit_code == 0
    assert run("caption", "photos", *MODEL, "--no-figure", "--out", "whole").exit_code == 0
    assert_same("out", "whole")


@pytest.mark.usefixtures("here")
def test_what_is_no_photos_fault_stops_the_batch() -> None:
    done = run("caption", "photos", *MODEL, "--text", "a zebra", "--out", "out")
    assert done.exit_code == 1
    assert "error: " in done.stderr.splitlines()[-1]
    assert "zebra" in done.stderr.splitlines()[-1]
    assert not Path("out").exists()


@pytest.mark.usefixtures("here")
def test_other_settings_are_refused_in_a_line() -> None:
    assert run("caption", "photos/00.png", *MODEL, "--out", "out").exit_code == 0
    before = files_of("out")
    for args in (["--beam", "2"], ["--format", "json"], ["--no-figure"], ["--phrases"]):
        done = run("caption", "photos/00.png", *MODEL, "--out", "out", *args)
        assert done.exit_code == 1
        assert "'out' holds results of other settings (" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert "command: there caption, now vqa" in run("vqa", "photos/00.png", "what?", *VQA, "--out", "out").stderr
    assert files_of("out") == before


@pytest.mark.usefixtures("here")
def test_overwriting_leaves_what_people_put_there() -> None:
    """In the current folder, too: their files, their folders, their notes in folders of ours."""
    assert run("caption", "photos", *MODEL, "--no-figure", "--out", "out").exit_code == 0
    theirs = {"notes.txt": "mine", "00/notes.txt": "mine", ".git/HEAD": "mine", "thesis/a.tex": "mine"}
    for name, text in theirs.items():
        Path("out", name).parent.mkdir(exist_ok=True)
        Path("out", name).write_text(text)
    assert run("caption", "photos", *MODEL, "--method", "hires_cam", "--no-figure", "--out", "out", "--overwrite").exit_code == 0
    assert {name: Path("out", name).read_text() for name in theirs} == theirs
    assert len(records("out")) == 5
    assert [record["folder"] for record in records("out")] == ["photos-00", "01", "02", "03", "04"]
    for folder in (".", "photos"):
        before = files_of(folder)
        done = run("caption", "photos", *MODEL, "--out", folder, "--overwrite")
        assert (done.exit_code, files_of(folder)) == (1, before), done.output


# ---- formats, questions, names -----------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_records_alone_and_no_figure() -> None:
    assert run("caption", "photos", *MODEL, "--out", "json", "--format", "json").exit_code == 0
    assert len(records("json")) == 5
    assert {name for name in files_of("json") if name[0] != "."} == {"results.jsonl", "run.json"}
    assert run("caption", "photos", *MODEL, "--out", "html", "--no-figure").exit_code == 0
    names = {path.name for path in Path("html", "00").iterdir()}
    assert {"index.html", "thumbnail.jpg", "maps.safetensors"} < names
    assert "figure.png" not in names


@pytest.mark.usefixtures("here")
def test_a_table_holds_the_maps_in_the_order_of_the_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    command = ["caption", "photos", *MODEL, "--format", "parquet", "--batch-size", 2, "--phrases"]
    assert run(*command, "--out", "whole").exit_code == 0
    append, left = batch_folder.RecordLog.append, [4]

    def stop(*args: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        append(*args)

    monkeypatch.setattr(batch_folder.RecordLog, "append", stop)
    assert run(*command, "--out", "out").exit_code == 130
    assert run(*command, "--out", "out").exit_code == 0
    assert {name for name in files_of("out") if name[0] != "."} == {"results.jsonl", "results.parquet", "run.json"}
    tables = [pq.read_table(Path(folder, "results.parquet")).to_pylist() for folder in ("out", "whole")]
    assert [(row["image"], row["kind"], row["span"]) for row in tables[0]] == [
        (row["image"], row["kind"], row["span"]) for row in tables[1]
    ]
    e = mc.explain(networks.small_captioner(), "photos/03.png")
    rows = [row for row in tables[0] if row["image"] == "photos/03.png" and row["kind"] == "word"]
    assert [row["span"] for row in rows] == [word.text for word in e.words]
    maps = torch.tensor([row["map"] for row in rows]).reshape(-1, *rows[0]["grid"])
    torch.testing.assert_close(maps, e.maps)


@pytest.mark.usefixtures("here")
def test_questions_about_every_photo_of_a_folder() -> None:
    done = run("vqa", "photos", "what is red?", "what is blue?", *VQA, "--out", "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].startswith("photos/00.png: what is red? ")
    assert [record["folder"] for record in records("out")][:2] == ["00-what-is-red", "00-what-is-blue"]
    assert len(records("out")) == 10
    assert Path("out", "index.html").read_text().count("<q>what is red?</q>") == 5
    one = run("vqa", "photos/00.png", "what is red?", "what is blue?", *VQA, "--out", "one")
    assert one.exit_code == 0
    assert Path("one", "index.html").read_text().count("<article") == 2  # one photo has one page


@pytest.mark.usefixtures("here")
def test_every_page_leads_back_to_the_index() -> None:
    assert run("classify", "photos", "--model", "test_cli_classify:tiny", "--out", "out").exit_code == 0
    assert 'href="00/index.html"' in Path("out", "index.html").read_text()
    assert 'href="../index.html"' in Path("out", "00", "index.html").read_text()
    entries = Path("out", "index-entries.js").read_text()
    assert all(f'["{folder}",' in entries for folder in ("00", "01"))


@pytest.mark.slow
@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore")  # Ray's own, about itself
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_several_workers_give_the_same(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([PATHS, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
    for patience in ("RAY_agent_register_timeout_ms", "RAY_raylet_start_wait_time_s"):  # on a busy machine its start takes long
        monkeypatch.setenv(patience, "300000" if patience.endswith("ms") else "300")
    command = ["caption", "photos", "nowhere.png", *MODEL, "--no-figure", "--out"]
    assert run(*command, "one").exit_code == 1
    done = run(*command, "two", "--workers", 2, "--engine", engine)
    assert done.exit_code == 1
    assert "1 of 6 photos failed:\n  nowhere.png: there is no file 'nowhere.png'" in done.stderr
    assert_same("one", "two")


# ---- kill -9, Ctrl-C, SIGTERM, full disks ------------------------------------------------------------------


def start(*args: str | int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "multimodal_cam.cli", *map(str, args)]
    env = os.environ | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end_after(process: subprocess.Popen[str], folder: Path, results: int, delay: float, ending: signal.Signals) -> int:
    """Send the signal some time after so many results are there, and return the exit code."""
    end = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < end:
        if (folder / "results.jsonl").is_file() and len((folder / "results.jsonl").read_bytes().splitlines()) >= results:
            time.sleep(delay)
            process.send_signal(ending)
            break
        time.sleep(0.005)
    process.communicate(timeout=240)
    return int(process.returncode)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),  # in the quick suite: test_after_ctrl_c_...
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_ended_by_a_signal_it_goes_on(ending: signal.Signals, code: int) -> None:
    make_photos(Path("many"), COUNT)
    command = ["caption", "many", *MODEL, "--batch-size", 3, "--no-figure"]
    assert end_after(start(*command, "--out", "out"), Path("out"), 2, random.Random(code).random() / 20, ending) == code
    assert 2 <= len(records("out")) < COUNT
    assert run(*command, "--out", "out").exit_code == 0
    assert run(*command, "--out", "whole").exit_code == 0
    assert_same("out", "whole")


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_workers_ended_at_random_moments() -> None:
    """As the benchmark of batches does with sixty photos, ended ten times."""
    make_photos(Path("many"), 12)
    command = ["caption", "many", *MODEL, "--batch-size", 3, "--no-figure"]
    draw, done = random.Random(3), 0
    for ending in (signal.SIGKILL, signal.SIGINT):
        process = start(*command, "--out", "out", "--workers", 3)
        end_after(process, Path("out"), done + 1, draw.random() / 3, ending)
        found = len(records("out"))
        assert found >= min(done + 1, 12)
        done = found
    assert run(*command, "--out", "out").exit_code == 0
    assert run(*command, "--out", "whole").exit_code == 0
    assert_same("out", "whole")


@pytest.mark.usefixtures("here")
def test_two_commands_into_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    explain = mc.explain

    def meanwhile(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr("multimodal_cam._explain.explain", explain)
        second = run("caption", "photos", *MODEL, "--out", "out")
        assert second.exit_code == 1
        assert "another process is writing to 'out'" in second.stderr
        return explain(*args, **options)

    monkeypatch.setattr("multimodal_cam._explain.explain", meanwhile)
    assert run("caption", "photos", *MODEL, "--out", "out").exit_code == 0


@pytest.mark.usefixtures("here")
def test_a_disk_that_fills_up_stops_the_batch_and_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = batch_folder.write_explanation, [3]

    def full(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, os.strerror(28))
        return write(*args, **options)

    monkeypatch.setattr(batch_folder, "write_explanation", full)
    done = run("caption", "photos", *MODEL, "--out", "out")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "error: cannot write to 'out' (No space left on device), the 2 results so far stay: free some space, and the same "
        "command goes on, or choose another folder"
    )
    assert run("caption", "photos", *MODEL, "--out", "out").exit_code == 0
    assert len(records("out")) == 5
