"""The types that people's type checkers see."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_explain_has_the_types_of_what_it_returns():
    file = Path("tests", "support", "explain_types.py")
    done = subprocess.run([sys.executable, "-m", "mypy", "--no-error-summary", file], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
