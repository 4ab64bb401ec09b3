"""The process around the program: the signal that ends it, and standard streams that are closed or full."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TERMINATED = 128 + signal.SIGTERM


@contextmanager
def tidy_process() -> Iterator[None]:
    """Let SIGTERM clean up as Ctrl-C does (exit code 143), and say in one line when standard output is closed or full (1)."""
    _open_streams()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except SystemExit as end:
        _flush(quiet=bool(end.code))
        raise
    except OSError as error:  # of options that print and end, before any command runs
        print(f"error: {error}", file=sys.stderr)
        _flush(quiet=True)
        raise SystemExit(1) from None
    _flush(quiet=False)


def _terminate(*_: Any) -> None:
    raise SystemExit(TERMINATED)


def _open_streams() -> None:
    """Open what is closed: the next file would get its number, and what libraries print. Exit without a standard output."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  for as long as the process lives
    closed = sys.stdout is None
    if closed:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # file names may hold anything
    if closed:
        print("error: standard output is closed: send it to a file, or to /dev/null", file=sys.stderr)
        raise SystemExit(1)


def _flush(*, quiet: bool) -> None:
    """Write what is left. After an error nothing more is tried, and one line says so unless an error was said already."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not quiet:
            print(f"error: cannot write to standard output ({error.strerror}): send it elsewhere", file=sys.stderr)
            raise SystemExit(1) from None
