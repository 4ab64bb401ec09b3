"""The command `check`: a line a trial, exit codes, progress on a terminal only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networks
import pytest
import torch
from test_cli import MODEL, photo, run  # noqa: F401  a fixture

from multimodal_cam.cli import check_command

NAME = MODEL[1]


def leaking() -> Any:
    """A captioner whose decoder reads the words that it scores, for `check test_cli_check:leaking`."""

    class Leaking(networks.Decoder):
        def forward(self, features: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(features, ids) + self.readout(self.embed(ids))

    return networks.small_captioner(decoder=Leaking())


def test_a_line_a_trial(photo: Path) -> None:  # noqa: F811
    done = run("check", NAME, photo)
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("ok ") for line in lines)


def test_what_fails(photo: Path) -> None:  # noqa: F811
    done = run("check", "test_cli_check:leaking", photo, "--json", "--text", "a dog")
    assert done.exit_code == 1
    failed = [record for record in map(json.loads, done.stdout.splitlines()) if not record["passed"]]
    assert failed[0]["name"] == "no position sees the token that it scores"
    assert "ids[:, :-1]" in failed[0]["detail"]
    assert run("check", NAME, photo, "--text", "a zebra").exit_code == 1


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with check_command._trial_bar() as progress:
        assert progress is None
    monkeypatch.setattr(check_command.sys.stderr, "isatty", lambda: True, raising=False)
    with check_command._trial_bar() as progress:
        assert progress is not None
        progress(1, 7, "its own words are the likeliest")
