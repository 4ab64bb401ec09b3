"""Threads of the test processes; the tiny Hugging Face models, each built once, whichever file asks for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before anything imports torch: the processes share the cores
    share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(share))


@contextmanager
def skipping_the_broken() -> Iterator[None]:
    """A family that the installed transformers breaks itself is skipped, with what the table in `broken_versions` says of it."""
    try:
        yield
    except ImportError as error:
        from multimodal_cam.adapters.hf.broken_versions import BrokenVersionError

        if not isinstance(error, BrokenVersionError):
            raise
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with skipping_the_broken():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with skipping_the_broken():
        return (yield)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """The folder of a case of `hf_models`, by its name: leave it as it is."""
    home = tmp_path_factory.mktemp("checkpoints")

    def checkpoint(name: str):
        if not (home / name).is_dir():
            import torch
            from hf_models import CASES

            torch.manual_seed(0)
            next(case for case in CASES if case.name == name).build(home / name)
        return home / name

    return checkpoint


@pytest.fixture(scope="session")
def loaded(checkpoints):
    """The model that mc.load makes of a case's folder: leave it as it is, too."""
    models = {}

    def load(case):
        if case.name not in models:
            import multimodal_cam as mc

            models[case.name] = mc.load(checkpoints(case.name), device="cpu")
        return models[case.name]

    return load


@pytest.fixture
def folder(checkpoints, tmp_path):
    """A checkpoint to spoil."""
    return shutil.copytree(checkpoints("blip-caption"), tmp_path / "blip")


def pytest_terminal_summary(terminalreporter):
    """What fuzzing found (`mutations.Tally`), which a passing test's captured output would hide."""
    for report in terminalreporter.stats.get("passed", []):
        for line in report.capstdout.splitlines():
            if " at fault" in line:
                terminalreporter.write_line(line)
