"""The command `check`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from . import options as o
from .output import print_json, print_line, progress_display


def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled name, a folder, owner/name, or file.py:function.")],
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="A photo to try it on.")],
    text: Annotated[str | None, typer.Option(help="Explain this text instead of the model's own.")] = None,
    question: Annotated[str | None, typer.Option(help="Question, for a model that takes one.")] = None,
    layer: o.Layer = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="Try all of the text, not its first tokens: minutes.")] = False,
    as_json: o.Json = False,
    device: o.Device = "auto",
    dtype: o.ModelDType = None,
) -> None:
    """Check that a model of your own is connected rightly: maps of one that fails are wrong.

    A line for each trial; what failed says its probable cause and what to do. Exit code 1 if something failed.
    """
    from dataclasses import asdict

    import multimodal_cam as mc

    adapter = o.load_model(model, device, dtype=dtype)
    with _trial_bar() as progress:
        found = mc.check(adapter, photo, text=text, question=question, layer=layer, thorough=thorough, progress=progress)
    for one in found:
        print_json(asdict(one)) if as_json else print_line(str(one))
    if not all(one.passed for one in found):
        raise typer.Exit(1)


@contextmanager
def _trial_bar() -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar with the trial that runs, on a terminal; elsewhere None."""
    if not sys.stderr.isatty():
        yield None
        return
    with progress_display() as bars:
        task = bars.add_task("checking", total=None)
        yield lambda done, total, name: bars.update(task, completed=done, total=total, remark=name)
