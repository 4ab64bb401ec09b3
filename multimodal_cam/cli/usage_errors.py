"""Usage errors in the style of all others: one line, `error: what is wrong; what to do`, and exit code 2."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from .output import print_diagnostic

USAGE = 2  # exit code
UsageError: Any = typer.BadParameter.__bases__[0]  # typer has no public name for it
INVALID = re.compile(r"Invalid value(?: for (?P<parameter>[^:]+))?: (?P<fault>.*)")
REWORDED = (  # messages of typer, of all its versions, in our words
    (r"Value error, ", ""),
    (r"Missing (?:option|argument) '(.*?)'.*", r"missing \1"),
    (r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", r"unexpected \1"),
    (r"Option '(.*?)' requires an argument", r"\1: expected a value"),
    (r"Option '(.*?)' does not take a value", r"\1: takes no value"),
    (r"(?:dir|directory|path) ('.*') does not exist", r"there is no folder \1"),
    (r"file ('.*') does not exist", r"there is no file \1"),
    (r"(?:dir|directory) ('.*') is a file", r"expected a folder, \1 is a file"),
    (r"file ('.*') is a directory", r"expected a file, \1 is a folder"),
)
LIMITS = {  # faults that pydantic names, which newer versions of typer check values with
    "greater_than_equal": "expected {ge:g} or more",
    "less_than_equal": "expected {le:g} or less",
    "int_parsing": "expected an integer",
    "float_parsing": "expected a number",
}


@contextmanager
def usage_errors_in_a_line() -> Iterator[None]:
    """Print a usage error as one line to stderr and exit with code 2; a group without a command shows its help, as it did."""
    try:
        yield
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        print_diagnostic(f"error: {usage_line(error)}")
        raise typer.Exit(USAGE) from error


@contextmanager
def usage_errors_of(context: Any) -> Iterator[None]:
    """Say of usage errors which command they are about, where typer, or the command's own code, does not."""
    try:
        yield
    except UsageError as error:
        if error.ctx is None:
            error.ctx = context
        raise


def usage_line(error: Any) -> str:
    """What is wrong with the command line, and what to do, in one line."""
    text = " ".join(error.format_message().split()).rstrip(".")
    found = INVALID.fullmatch(text)
    if found is not None:
        parameter = (found["parameter"] or "").replace("'", "")
        fault = _limit(error) or _choices(_reworded(found["fault"]))
        text = f"{parameter}: {fault}" if parameter else fault
    else:
        text = _near_command(error, _near_option(error, _reworded(text)))
    if error.ctx is None or "choose from" in text or "did you mean" in text:
        return text
    return f"{text}; see `{error.ctx.command_path} --help`"


def _reworded(text: str) -> str:
    for pattern, words in REWORDED:
        text = re.sub(pattern, words, text, flags=re.IGNORECASE)
    return text


def _limit(error: Any) -> str | None:
    """What a value should be, and what it is, of an error that comes from pydantic."""
    try:
        (fault, *_) = error.__cause__.errors()
    except (AttributeError, TypeError):
        return None
    if fault["type"] not in LIMITS:
        return None
    return f"{LIMITS[fault['type']].format(**fault.get('ctx', {}))}, got {fault['input']}"


def _choices(text: str) -> str:
    found = re.fullmatch(r"('.*?') is not one of (.*)", text)
    return text if found is None else f"unknown {found[1]}; choose from {found[2].replace(chr(39), '')}"


def _near_command(error: Any, text: str) -> str:
    found = re.match(r"no such command '(.*?)'", text, re.IGNORECASE)
    if found is None or error.ctx is None:
        return text
    return f"unknown command {found[1]!r}{_near(found[1], error.ctx.command.list_commands(error.ctx), choices=True)}"


def _near_option(error: Any, text: str) -> str:
    found = re.match(r"no such option:? '?([^\s']+)", text, re.IGNORECASE)
    if found is None or error.ctx is None:
        return text
    names = [name for one in error.ctx.command.get_params(error.ctx) for name in (*one.opts, *one.secondary_opts)]
    return f"unknown option {found[1]}{_near(found[1], [name for name in names if name[:2] == '--'], choices=False)}"


def _near(name: str, names: list[str], choices: bool) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    if near:
        return f": did you mean {near[0]}?"
    return f"; choose from {', '.join(names)}" if choices else ""
