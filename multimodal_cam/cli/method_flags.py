"""Options of methods as options of a command: each entry of the methods' table is a flag, with no line of the command's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from multimodal_cam.methods import find_method
from multimodal_cam.methods.method_options import OPTIONS
from multimodal_cam.methods.spec import methods_with


def with_method_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a flag for each option of a method; those that were given reach it as `method_options`."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "method_options"]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name)) for name in OPTIONS
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        chosen = {name: value for name in OPTIONS if (value := given.pop(name)) is not None}
        command(**given, method_options=chosen)

    run.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    return run


def _annotation(name: str) -> Any:
    option = OPTIONS[name]
    default = "" if option.default is None else f" [default: {option.default}]"
    return Annotated[str | None, typer.Option(option.flag, help=f"{', '.join(methods_with(name))}: {option.help}{default}")]


def check_method_options(method: str | None, given: Mapping[str, str]) -> None:
    """Raises a usage error for options that the method does not have, for values that they cannot have, and without a method."""
    for name, value in given.items():
        if method is None:
            message = f"an option of {', '.join(methods_with(name))}: name the method by --method"
            raise typer.BadParameter(message, param_hint=OPTIONS[name].flag)
        try:
            find_method(method).read_options({name: value})
        except (TypeError, ValueError) as error:
            message = str(error).removeprefix(f"{name}: ")
            raise typer.BadParameter(message, param_hint=OPTIONS[name].flag) from error
