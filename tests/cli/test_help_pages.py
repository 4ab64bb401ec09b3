"""Every command's help: examples that parse, options in groups; completion; `python -m multimodal_cam`."""

import shlex
import subprocess
import sys

import pytest
import typer.main

from multimodal_cam.cli.app import app
from multimodal_cam.cli.help_pages import EXAMPLES, GROUPS

PROGRAM = typer.main.get_command(app)


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(PROGRAM))


def help_of(path):
    context = None
    for name, command in zip(["multimodal-cam", *path.split()], [PROGRAM, *_chain(path)], strict=True):
        context = typer.Context(command, info_name=name, parent=context)
    return context.command.get_help(context)


def _chain(path):
    command = PROGRAM
    for name in path.split():
        command = command.commands[name]
        yield command


def test_every_command_has_examples_and_none_is_of_another():
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_help_shows_the_examples_and_every_option_once(path):
    text = help_of(path)
    assert "Examples:" in text
    for example in EXAMPLES[path]:
        assert f"multimodal-cam {example}\n" in text + "\n"
    for parameter in COMMANDS[path].params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert sum(line.strip().startswith(option) for line in text.splitlines()) >= 1 or f", {option}" in text


@pytest.mark.parametrize(("path", "example"), [(path, one) for path, all_ in EXAMPLES.items() for one in all_])
def test_the_options_of_examples_are_there(path, example):
    known = {option for parameter in COMMANDS[path].params for option in [*parameter.opts, *parameter.secondary_opts]}
    assert {word for word in shlex.split(example) if word.startswith("--")} <= known
    assert example.startswith(path)


def test_the_names_in_groups_are_options_somewhere():
    known = {parameter.name for command in COMMANDS.values() for parameter in command.params}
    assert {name for names in GROUPS.values() for name in names} <= known


def test_the_package_is_a_program():
    done = subprocess.run([sys.executable, "-m", "multimodal_cam", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("multimodal-cam ")
