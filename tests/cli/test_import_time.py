"""What loads when: the package and the command line start fast because they import little."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "timm", "spacy", "matplotlib", "gradio", "numpy", "PIL")


def loaded(code: str) -> set[str]:
    """Those of HEAVY that a fresh interpreter has loaded after `code`."""
    report = f"{code}\nimport sys; print('loaded:', *(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "code",
    [
        "import multimodal_cam",
        "import multimodal_cam as mc; dir(mc); mc.__version__; mc.__all__",
        "import multimodal_cam.core.images, multimodal_cam.core.files, multimodal_cam.adapters.catalog",
        "import multimodal_cam.cli.app",
        "from typer.testing import CliRunner; from multimodal_cam.cli.app import app\n"
        "for args in (['--help'], ['caption', '--help'], ['train', 'captioner', '--help'], ['--version']):\n"
        "    assert CliRunner().invoke(app, args).exit_code == 0",
    ],
    ids=["package", "names", "leaves", "cli", "help"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded(code) == set()


def test_command_line_imports_rich_only_when_it_draws() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, multimodal_cam.cli; print('rich.progress' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_photos_are_loaded_without_torch() -> None:
    code = "from multimodal_cam.core.images import load_image\nfrom PIL import Image; load_image(Image.new('RGB', (2, 2)))"
    assert "torch" not in loaded(code)
