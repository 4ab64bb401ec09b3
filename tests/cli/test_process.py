"""The program as a process: SIGTERM while it writes, standard streams that are closed or full."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = f"{shlex.quote(sys.executable)} -m multimodal_cam.cli"
SLOW = """
import os, signal, sys, time
from pathlib import Path
from multimodal_cam.cli.process import tidy_process
from multimodal_cam.core.publication import new_folder
with tidy_process(), new_folder(Path("out"), "report") as new:
    (new.draft / "half").write_text("x")
    print("writing", flush=True)
    time.sleep(60)
"""


def started(folder: Path) -> subprocess.Popen[str]:
    """A run that is writing."""
    process = subprocess.Popen([sys.executable, "-c", SLOW], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "writing\n"
    return process


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, cwd=folder)


@pytest.mark.parametrize("arguments", ["--version", "--help", "methods"])
def test_a_full_standard_output_is_one_line(arguments: str, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = shell(f"{PROGRAM} {arguments} > /dev/full", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("arguments", ["--version", "methods"])
def test_a_closed_standard_output_is_one_line(arguments: str, tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} {arguments} >&-", tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: standard output is closed: send it to a file, or to /dev/null\n")


def test_other_closed_streams_do_not_matter(tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} --version <&- 2>&-", tmp_path)
    assert (done.returncode, done.stdout.split()[0]) == (0, "multimodal-cam")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, None)])
def test_a_run_that_is_ended_leaves_no_half_folders(number: signal.Signals, code: int | None, tmp_path: Path) -> None:
    process = started(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".out.multimodal-cam.draft"]
    process.send_signal(number)
    ended = process.wait(timeout=30)
    assert code is None or ended == code
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_killed_is_cleared_by_the_next(tmp_path: Path) -> None:
    process = started(tmp_path)
    second = subprocess.run([sys.executable, "-c", SLOW], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "another process is writing to 'out'" in second.stderr
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    quick = SLOW.replace("time.sleep(60)", "")
    for _ in range(50):
        if subprocess.run([sys.executable, "-c", quick], cwd=tmp_path, capture_output=True, timeout=60).returncode == 0:
            break
        time.sleep(0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".multimodal-cam", "half"]
