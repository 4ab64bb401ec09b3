"""Usage errors of every command: one line that begins with `error: `, exit code 2, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from test_cli import run

from multimodal_cam.cli.app import app


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that runs, with its path."""
    command = typer.main.get_command(app) if command is None else command
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    else:
        for name, one in inner.items():
            yield from commands(one, (*path, name))


COMMANDS = dict(commands())


def wrong(*args: str) -> str:
    """The one line that is said of a wrong command line."""
    done = run(*args)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert not line.endswith(".")
    assert any(words in line for words in ("; see `", "did you mean", "choose from", "expected", "there is no", "give either")), (
        line
    )
    return line.removeprefix("error: ")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_options_that_there_are_not(path: tuple[str, ...]) -> None:
    assert wrong(*path, "--zzyzx").startswith("unknown option --zzyzx; see `")
    for option in ("--hepl", "-x"):
        assert option in wrong(*path, option)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_what_is_missing_or_too_much(path: tuple[str, ...]) -> None:
    required = [one for one in COMMANDS[path].params if one.required]
    if required:
        line = wrong(*path)
        assert line.startswith("missing ")
        assert f"; see `{' '.join(('root', *path))} --help`".split("root ")[1] in line
        assert "'" not in line
    elif not any(one.nargs == -1 for one in COMMANDS[path].params):
        assert wrong(*path, "extra", "more").startswith("unexpected extra more; see `")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_values_of_options(path: tuple[str, ...], tmp_path: Path) -> None:
    """Each option: no value; then one that it cannot have, where it has choices or limits."""
    given = [str(tmp_path / "photo.jpg")] * sum(one.param_type_name == "argument" for one in COMMANDS[path].params)
    for one in COMMANDS[path].params:
        if one.param_type_name == "argument" or getattr(one, "is_flag", False):
            continue
        name = next(name for name in one.opts if name.startswith("--"))
        assert wrong(*path, *given, name).startswith(f"{name}: expected a value; see `")
        annotation = str(getattr(one, "type", ""))
        if any(kind in annotation.lower() for kind in ("int", "float")):
            assert name in wrong(*path, *given, name, "many")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["captoin", "x"], "unknown command 'captoin': did you mean caption?"),
        (["nonsense"], "unknown command 'nonsense'; choose from caption, vqa, classify"),
        (["study", "nonsense"], "unknown command 'nonsense'; choose from "),
        (["--nonsense"], "unknown option --nonsense; see `"),
        (["caption", "x", "--betch-size", "3"], "unknown option --betch-size: did you mean --batch-size?"),
        (["caption", "x", "--beam", "0"], "--beam: expected 1 or more, got 0; see `"),
        (["caption", "x", "--beam", "two"], "--beam: expected an integer, got two; see `"),
        (["train", "vqa", "--dropout", "2"], "--dropout: expected 1 or less, got 2; see `"),
        (["train", "vqa", "--dropout", "much"], "--dropout: expected a number, got much; see `"),
        (["caption", "x", "--scale", "sentence"], "--scale: unknown 'sentence'; choose from caption, word"),
        (["caption", "x", "--format", "pdf"], "--format: unknown 'pdf'; choose from html, json, parquet"),
        (["caption", "x", "--method", "magic"], "--method: unknown method 'magic'; choose from ablation_cam, attention"),
        (["caption", "x", "--score", "odds"], "--score: unknown 'odds'; choose from contrast, log_prob, logit"),
        (["caption", "x", "--model", "nonsense"], "--model: unknown model 'nonsense'; choose from"),
        (["vqa", "x", "--model", "nonsense", "what?"], "--model: unknown model 'nonsense'; choose from"),
        (["layers", "nonsense"], "--model: unknown model 'nonsense'; choose from"),
        (["train", "vqa", "--images", "/no/where"], "--images: there is no folder '/no/where'; see `"),
        (["train", "vqa", "--images", __file__], f"--images: expected a folder, '{__file__}' is a file; see `"),
        (["train", "vqa", "--questions", "/no/where"], "--questions: there is no file '/no/where'; see `"),
        (["train", "vqa", "--questions", str(Path(__file__).parent)], "--questions: expected a file, '"),
    ],
)
def test_lines(args: list[str], line: str) -> None:
    assert wrong(*args).startswith(line)


def test_a_group_without_a_command_shows_its_help() -> None:
    for args in ((), ("study",), ("train",)):
        done = run(*args)
        assert done.exit_code == 2
        assert "Commands" in done.output
