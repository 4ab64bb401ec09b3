"""Printing: lines, tables, JSON and progress bars. Results go to stdout, diagnostics to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


def print_line(text: str, file: TextIO | None = None) -> None:
    """Prints one line; control characters, which file names may contain, do not reach the terminal."""
    print("".join(c if c.isprintable() else "?" for c in text), file=file, flush=True)


def print_diagnostic(text: str) -> None:
    """Prints one line to stderr."""
    print_line(text, sys.stderr)


def print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, allow_nan=False), flush=True)


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows as a table with their keys as its head, or as one JSON object a line."""
    if as_json:
        for row in rows:
            print_json(row)
    elif rows:
        print_table(list(rows[0]), [[_cell_text(value) for value in row.values()] for row in rows])


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print columns, each as wide as its longest cell; on a terminal, lines that are too long are folded within their cells."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in head:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text("".join(c if c.isprintable() else "?" for c in cell)) for cell in row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, or none for a single item; yields a function that takes the number of items done."""
    if total == 1:
        yield lambda _: None
        return
    with progress_display() as bars:
        task = bars.add_task(description, total=total)
        yield lambda done: bars.update(task, completed=done)


def progress_display() -> Progress:
    """A rich display of bars on stderr; the field `remark` of a task is shown at the end of its bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class RemarkColumn(TextColumn):
        def render(self, task: Any) -> Any:
            from rich.text import Text

            return Text(str(task.fields.get("remark", "")))

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        RemarkColumn(""),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),  # on a terminal both streams share the screen; a redirected stdout stays clean
    )


@contextmanager
def rate_display(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr with photos a second and the time left.

    Yields a function that takes the number of photos done since its last call; its first call takes those done in earlier runs.
    """
    with progress_display() as bars:
        task, done, earlier, start = bars.add_task("measuring", total=total), 0, -1, time.monotonic()

        def progress(more: int) -> None:
            nonlocal done, earlier, start
            done += more
            if earlier < 0:
                earlier, start = done, time.monotonic()
                bars.update(task, completed=done)
                return
            rate = (done - earlier) / max(time.monotonic() - start, 1e-9)
            bars.update(task, completed=done, remark=f"{rate:.2f} photos/s")

        yield progress
