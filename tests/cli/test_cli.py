"""The command line: what it prints where, what it writes, and its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import networks
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import multimodal_cam as mc
from multimodal_cam.cli.app import app

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
PATHS = os.pathsep.join(str(Path(__file__).parents[1] / name) for name in ("cli", "support"))
MODEL = ["--model", "test_cli:tiny"]
HIDDEN = {".multimodal-cam", ".multimodal-cam.lock"}  # signature and lock


def tiny() -> Any:
    """A captioner with random weights, for `--model test_cli:tiny`."""
    return networks.small_captioner()


def run(*args: str | Path | int) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small photo; the current folder is a fresh one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with Image.open(SAMPLES / "dog.jpg") as image:
        image.resize((64, 48)).save(tmp_path / "dog.jpg")
    return tmp_path / "dog.jpg"


# ---- the real entry point ----------------------------------------------------------------------------------


def entry_point(*args: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("multimodal-cam", path=str(Path(sys.executable).parent))
    assert program, "install the project first"
    env = os.environ | {"PYTHONPATH": PATHS, "PYTHONIOENCODING": "utf-8"} | environment
    return subprocess.run([program, *map(str, args)], capture_output=True, text=True, env=env, timeout=300)


def test_version_and_help_through_the_entry_point() -> None:
    assert entry_point("--version").stdout == f"multimodal-cam {mc.__version__}\n"
    assert entry_point("-v").stdout == f"multimodal-cam {mc.__version__}\n"
    text = entry_point("--help").stdout
    assert all(command in text for command in ("caption", "models", "methods", "train", "eval"))


def test_results_and_talk_are_kept_apart(photo: Path) -> None:
    done = entry_point("caption", photo, "nowhere.jpg", *MODEL, "--json", "--on-error", "skip")
    assert done.returncode == 1
    good, bad = map(json.loads, done.stdout.splitlines())
    assert good["image"] == str(photo)
    assert bad["kind"] == "FileNotFoundError"
    assert "1 of 2 photos failed:\n  nowhere.jpg: there is no file 'nowhere.jpg'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="ulimit")
def test_a_full_disk_leaves_nothing(photo: Path, tmp_path: Path) -> None:
    limited = f"ulimit -f 2; exec {shutil.which('multimodal-cam', path=str(Path(sys.executable).parent))} "
    command = limited + f"caption {photo} {' '.join(MODEL)} --out out"
    env = os.environ | {"PYTHONPATH": PATHS, "MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "error: cannot write to 'out'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(Path().iterdir()) == []


# ---- caption -----------------------------------------------------------------------------------------------


def test_one_photo_gets_a_table_a_page_and_a_picture(photo: Path) -> None:
    done = run("caption", photo, *MODEL)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    e = mc.explain(tiny(), photo)
    assert lines[0] == f"{photo}: {e.text}"
    assert [line.split()[0] for line in lines[2:-2]] == [word.text for word in e.words]
    assert lines[-1] == str(Path("multimodal-cam-out") / "index.html")
    written = Path(lines[-1]).parent
    assert {path.name for path in written.iterdir()} == {
        *HIDDEN,
        "run.json",
        "index.html",
        "index-entries.js",
        "results.jsonl",
        "dog",
    }
    assert (written / "dog" / "figure.png").is_file()
    assert mc.Explanation.load(written / "dog").text == e.text
    assert run("caption", photo, *MODEL).stdout.splitlines()[-1] == str(Path("multimodal-cam-out-2") / "index.html")


def test_several_photos_and_folders_get_a_line_each(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "album" / "2024"
    folder.mkdir(parents=True)
    for name in ("a.jpg", "b.png"):
        shutil.copy(photo, folder / name)
    done = run("caption", photo, tmp_path / "album", *MODEL, "--out", "out", "--batch-size", "2")
    assert done.exit_code == 0, done.output
    names = [line.split(": ")[0] for line in done.stdout.splitlines()]
    assert names == [str(photo), str(folder / "a.jpg"), str(folder / "b.png"), str(Path("out", "index.html"))]
    assert "3/3" in done.stderr
    assert {path.name for path in Path("out").iterdir() if path.is_dir()} == {"dog", "a", "b"}


def test_json_alone_writes_no_files(photo: Path) -> None:
    done = run("caption", photo, *MODEL, "--json", "--phrases", "--text", "a dog on grass", "--score", "logit")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["text"] == "a dog on grass"
    assert [word["text"] for word in found["words"]] == ["a", "dog", "on", "grass"]
    assert (found["score"], found["unit"], found["method"]) == ("logit", "logit", "grad_cam")
    assert "a dog" in [phrase["text"] for phrase in found["phrases"]]
    assert done.stderr == ""
    assert list(Path().iterdir()) == []


def test_json_with_out_writes_the_same_records(photo: Path) -> None:
    done = run("caption", photo, *MODEL, "--json", "--out", "out")
    assert done.stdout == Path("out", "results.jsonl").read_text()
    assert done.stderr == f"{Path('out', 'index.html')}\n"


def test_options_reach_explain(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spy(model: Any, images: list[str], **options: Any) -> list[mc.Explanation]:
        seen.update(options)
        return [mc.explain(model, image) for image in images]

    monkeypatch.setattr("multimodal_cam._explain.explain", spy)
    args = ["--method", "hires_cam", "--layer", "encoder.first", "--beam", 5, "--n-steps", 8, "--unknown", "unk"]
    more = ["--json", "--text", "a dog", "--score", "contrast", "--batch-size", 4]
    run("caption", photo, *MODEL, *args, *more)
    assert seen == {
        "text": "a dog",
        "method": "hires_cam",
        "score": "contrast",
        "layer": "encoder.first",
        "beam": 5,
        "n_steps": 8,
        "unknown": "unk",
        "batch_size": 4,
        "on_error": "skip",
    }


def test_scores_that_are_no_probabilities_get_a_column(photo: Path) -> None:
    done = run("caption", photo, *MODEL, "--score", "contrast", "--scale", "word")
    assert done.stdout.splitlines()[1].split()[:3] == ["probability", "contrast", "reliance"]


# ---- errors ------------------------------------------------------------------------------------------------


def test_failed_photos_are_counted_and_explained(photo: Path) -> None:
    Path("empty.jpg").touch()
    done = run("caption", "empty.jpg", photo, *MODEL, "--on-error", "skip", "--out", "out")
    assert done.exit_code == 1
    assert "1 of 2 photos failed:\n  empty.jpg: 'empty.jpg' is empty (0 bytes)" in done.stderr
    assert done.stdout.splitlines()[-1] == str(Path("out", "index.html"))
    records = [json.loads(line) for line in Path("out", "results.jsonl").read_text().splitlines()]
    assert ["error" in found for found in records] == [True, False]


@pytest.mark.usefixtures("photo")
def test_when_all_photos_fail_nothing_is_written() -> None:
    done = run("caption", "a.jpg", "b.jpg", *MODEL, "--on-error", "skip", "--out", "out")
    assert done.exit_code == 1
    assert "2 of 2 photos failed" in done.stderr
    assert list(Path().iterdir()) == []


def test_the_first_failure_stops_and_what_is_done_stays(photo: Path) -> None:
    done = run("caption", photo, "nowhere.jpg", "neither.jpg", *MODEL, "--out", "out", "--on-error", "stop")
    assert done.exit_code == 1
    assert "stopped: 1 of 3 are in 'out'; the same command goes on from there" in done.stderr
    assert "error: there is no file 'nowhere.jpg'" in done.stderr.splitlines()[-1]
    assert mc.Explanation.load(Path("out", "dog")).text == mc.explain(tiny(), photo).text
    done = run("caption", "nowhere.jpg", *MODEL, "--out", "alone")
    assert (done.exit_code, done.stderr.startswith("error: there is no file")) == (1, True)
    assert not Path("alone").exists()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--text", "a zebra"], 1, "cannot say 'zebra'"),
        (["--text", " "], 1, "expected words"),
        (["--text", "a dog " * 10], 1, "at most 8"),
        (["--layer", "nowhere"], 1, "unknown layer"),
        (["--device", "abacus"], 1, "device 'abacus' cannot be used here"),
        (["--method", "magic"], 2, "choose from ablation_cam, attention, "),
        (["--score", "odds"], 2, "choose from contrast, log_prob, logit"),
        (["--model", "nonsense"], 2, "unknown model 'nonsense'; choose from"),
        (["--model", "no_such_module:load"], 2, "no_such_module"),
        (["--beam", "0"], 2, "--beam"),
        (["--scale", "sentence"], 2, "--scale"),
        (["--on-error", "ignore"], 2, "--on-error"),
        (["--no-such-option"], 2, "--no-such-option"),
    ],
)
def test_mistakes_are_said_without_a_traceback(photo: Path, args: list[str], code: int, words: str) -> None:
    done = run("caption", photo, *MODEL, *args)
    assert done.exit_code == code, done.output
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(Path().iterdir()) == []


def test_no_photo_is_a_usage_error() -> None:
    assert run("caption").exit_code == 2
    assert run().exit_code == 2
    assert run("nonsense").exit_code == 2


def test_a_folder_without_photos_and_one_that_is_taken(photo: Path) -> None:
    Path("album").mkdir()
    assert "no photos in 'album'" in run("caption", "album", *MODEL).stderr
    Path("album", "mine.txt").touch()
    assert "'album' is not empty" in run("caption", photo, *MODEL, "--out", "album").stderr
    assert [path.name for path in Path("album").iterdir()] == ["mine.txt"]


def test_overwrite_replaces_a_report(photo: Path) -> None:
    for _ in range(2):
        done = run("caption", photo, *MODEL, "--out", "out", "--overwrite")
        assert (done.exit_code, "already" in done.stderr) == (0, False)
    Path("out", "mine.txt").touch()
    refused = run("caption", photo, *MODEL, "--out", "out", "--score", "logit")
    assert refused.exit_code == 1
    assert "'out' holds results of other settings (settings: score: there None, now logit): choose" in refused.stderr
    assert run("caption", photo, *MODEL, "--out", "out", "--score", "logit", "--overwrite").exit_code == 0
    assert mc.Explanation.load(Path("out", "dog")).score == "logit"
    assert Path("out", "mine.txt").exists()


@pytest.mark.usefixtures("photo")
def test_debug_keeps_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("--debug", "caption", "nowhere.jpg", *MODEL).exception, FileNotFoundError)
    monkeypatch.setenv("MULTIMODAL_CAM_DEBUG", "1")
    assert isinstance(run("caption", "nowhere.jpg", *MODEL).exception, FileNotFoundError)


def test_bugs_are_not_dressed_up_as_user_errors(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("multimodal_cam._explain.explain", broken)
    assert isinstance(run("caption", photo, *MODEL, "--out", "out").exception, RuntimeError)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["two words.jpg", "café 猫.jpg", "[bold]<b>&.jpg"])
def test_odd_file_names_are_printed_as_they_are(photo: Path, name: str) -> None:
    shutil.copy(photo, name)
    done = run("caption", name, photo, *MODEL, "--out", "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{name}: ")
    assert Path("out", Path(name).stem, "manifest.json").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_file_names_cannot_write_to_the_terminal(photo: Path) -> None:
    name = os.fsdecode(b"\x1b[31mred\xff.jpg")
    shutil.copy(photo, name)
    done = run("caption", name, *MODEL, "--out", "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("?[31mred?.jpg: ")


# ---- models, methods ---------------------------------------------------------------------------------------


def test_methods_as_a_table_and_as_json() -> None:
    table = run("methods").stdout.splitlines()
    rows = [json.loads(line) for line in run("methods", "--json").stdout.splitlines()]
    assert table[0].split() == ["name", "linear", "paper"]
    assert [line.split()[0] for line in table[1:]] == [row["name"] for row in rows]
    assert {row["name"]: row["linear"] for row in rows}["grad_cam"] is True


def test_help_lists_the_methods_and_scores_of_the_tables() -> None:
    text = " ".join(run("caption", "--help").stdout.split())
    assert f"{', '.join(mc.METHODS)}: see `multimodal-cam methods`" in text
    assert f"{', '.join(mc.SCORES)}." in text


def test_models_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multimodal_cam.models.bundle.bundled", lambda: ["tiny"])
    monkeypatch.setattr("multimodal_cam.adapters.pretrained.PACKAGED", {})
    monkeypatch.setattr("multimodal_cam.adapters.load.load", lambda name, device: tiny())  # noqa: ARG005
    row, *families = map(json.loads, run("models", "--json").stdout.splitlines())
    assert all(family["layer"] and family["grid"] for family in families)
    assert (row["task"], row["grid"], row["vocabulary"]) == ("captioning", [4, 4], len(networks.WORDS))
    assert "4 x 4" in run("models").stdout


# ---- train, eval -------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(photo: Path) -> list[str | Path]:
    """Four photos with captions, as arguments."""
    Path("photos").mkdir()
    lines = ["image,caption"]
    for i in range(4):
        shutil.copy(photo, Path("photos", f"{i}.jpg"))
        lines += [f"{i}.jpg,A dog runs on the grass .", f'{i}.jpg,"A dog, on grass"']
    Path("captions.txt").write_text("\n".join(lines))
    Path("train.txt").write_text("0.jpg\n1.jpg\n2.jpg\n")
    Path("dev.txt").write_text("3.jpg\n")
    return ["--images", "photos", "--captions", "captions.txt"]


def test_train_hands_its_options_on(dataset: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from multimodal_cam.models.training import captioner_training as training

    seen: dict[str, Any] = {}

    def fake(*, progress: Any, **given: Any) -> None:
        seen.update(given)
        progress("features", 3, 3, "")
        progress("epoch 1", 1, 1, "train 5.000")
        progress("dev", 1, 2, "train 5.000 dev 4.900 nats a token")

    monkeypatch.setattr(training, "train_captioner", fake)
    args = ["--split", "train.txt", "--dev", "dev.txt", "--out", "net", "--epochs", "2", "--seed", "7"]
    args += ["--network", "sat", "--encoder", "nic"]
    done = run("train", "captioner", *dataset, *args, "--learning-rate", "0.01", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert done.stdout == "net\n"
    assert "epoch 1 of 2: train 5.000 dev 4.900 nats a token" in done.stderr
    recipe = training.TrainingOptions()
    options = seen["options"]
    assert (options.epochs, options.seed, options.learning_rate) == (2, 7, 0.01)
    assert (options.network, options.encoder) == ("sat", "nic")
    assert (options.batch_size, options.dropout) == (recipe.batch_size, recipe.dropout)
    assert (seen["train"], seen["dev"]) == (["0.jpg", "1.jpg", "2.jpg"], ["3.jpg"])
    assert str(seen["device"]) == "cpu"


def test_an_interrupted_training_says_how_to_go_on(dataset: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("multimodal_cam.models.training.captioner_training.train_captioner", interrupted)
    args = ["--split", "train.txt", "--dev", "dev.txt", "--out", "net", "--device", "cpu"]
    done = run("train", "captioner", *dataset, *args)
    assert done.exit_code == 130
    assert "repeat the command to resume" in done.stderr


def test_train_refuses_missing_files_and_wrong_ones(dataset: list[str]) -> None:
    args = ["--dev", "dev.txt", "--out", "net"]
    done = run("train", "captioner", *dataset, "--split", "nowhere.txt", *args)
    assert done.exit_code == 2
    assert "nowhere.txt" in done.stderr
    done = run("train", "captioner", *dataset, "--split", "train.txt", *args, "--network", "san")
    assert done.exit_code == 2
    assert "choose from nic, sat" in done.stderr
    Path("captions.txt").write_text("hello")
    done = run("train", "captioner", *dataset, "--split", "train.txt", *args)
    assert done.exit_code == 1
    assert "expected the header" in done.stderr


def test_eval_prints_bleu_and_cider(dataset: list[str]) -> None:
    pytest.importorskip("pycocoevalcap")
    args = [*dataset, "--split", "train.txt", *MODEL, "--beam", "1", "--limit", "2"]
    lines = run("eval", "captions", *args).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr"]
    found = json.loads(run("eval", "captions", *args, "--json").stdout)
    assert found["photos"] == 2
    assert 0 <= found["BLEU-1"] <= 1


@pytest.mark.slow
def test_train_then_eval_then_caption(dataset: list[str], photo: Path) -> None:
    """A real, tiny training run through the command line, resumed, and its network used."""
    args = ["--split", "train.txt", "--dev", "dev.txt", "--out", "net", "--min-count", "1", "--device", "cpu"]
    args += ["--batch-size", "1"]
    done = run("train", "captioner", *dataset, *args, "--epochs", "1")
    assert done.exit_code == 0, done.output
    assert "dev" in done.stderr
    again = run("train", "captioner", *dataset, *args, "--epochs", "1")
    assert again.exit_code == 0, again.output
    assert run("eval", "captions", *dataset, "--split", "dev.txt", "--model", "net").exit_code == 0
    done = run("caption", photo, "--model", "net", "--text", "a dog on the grass", "--json")
    assert json.loads(done.stdout)["method"] == "evidence"
