"""Models that a function of the user's makes: `their_module:function`, `folder/file.py:function`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import message

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

    from .contract import TaskAdapter

FILE = re.compile(r"(?P<place>.+\.py):(?P<function>\w+)")
MODULE = re.compile(r"(?P<place>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<function>\w+)")
SAYING = (OSError, ValueError, TypeError, ImportError, MemoryError)  # what these say can be read without a traceback
PARTS = ("module", "preprocess", "tokenize", "logits")  # what every adapter has


def is_user_function(name: str) -> bool:
    """Whether `name` reads `module:function` or `file.py:function`."""
    return (FILE.fullmatch(name) or MODULE.fullmatch(name)) is not None


def load_user_function(name: str) -> TaskAdapter:
    """The adapter that `module:function` or `file.py:function` makes; both are looked for from the current folder on.

    Raises UnknownModelError if there is no such file or module, ValueError if it has no such function, or the function takes
    arguments, fails in a way that says nothing (KeyError), or gives something else.
    """
    found = FILE.fullmatch(name) or MODULE.fullmatch(name)
    assert found is not None
    place, function = found["place"], found["function"]
    folder = Path(place).resolve().parent if FILE.fullmatch(name) else Path.cwd()
    with _importable(folder), _failures_located(name):
        module = _file_module(Path(place)) if FILE.fullmatch(name) else _named_module(place)
        made = _member(module, place, function)
        if not _is_adapter(made):
            made = _call(made, name)
    if not _is_adapter(made):
        hint = "return it" if made is None else "put it into one of them"
        raise ValueError(f"{name} gives {_article(made)}, expected what captioner(), vqa() or classifier() gives: {hint}")
    return made  # type: ignore[no-any-return]


def _file_module(path: Path) -> ModuleType:
    from .contract import UnknownModelError

    if not path.is_file():
        raise UnknownModelError(f"there is no file {path} here, in {os.getcwd()}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: PT018 (a file whose name ends in .py)
    module = importlib.util.module_from_spec(spec)
    if sys.modules.setdefault(path.stem, module) is not module:  # another module's name is left to it
        sys.modules[f"{path.stem}@{path.resolve()}"] = module
    spec.loader.exec_module(module)
    return module


def _named_module(name: str) -> ModuleType:
    from .contract import UnknownModelError

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, what it imports is not
        raise UnknownModelError(
            f"there is no module {name!r}, neither installed nor here, in {os.getcwd()}; a file is named with its ending, "
            "file.py:function"
        ) from error


def _member(module: ModuleType, place: str, function: str) -> Any:
    if hasattr(module, function):
        return getattr(module, function)
    functions = [
        name for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    near = difflib.get_close_matches(function, functions, n=3, cutoff=0.3) or functions[:5]
    raise ValueError(f"{place} has no {function!r}; it has {', '.join(near) or 'no functions'}")


def _call(function: Any, name: str) -> Any:
    """What `function()` gives. Raises ValueError if it needs arguments."""
    if not callable(function):
        raise ValueError(f"{name} is {_article(function)}, expected a function that makes the model")
    try:
        signature = inspect.signature(function)
    except ValueError:  # a built-in one tells nothing
        return function()
    try:
        signature.bind()
    except TypeError as error:
        raise ValueError(f"{name} is called without arguments, but takes {signature}: give them defaults") from error
    return function()


@contextmanager
def _failures_located(name: str) -> Iterator[None]:
    """Context that says where the user's code fails, and with which error, where its message alone ('w') says neither."""
    try:
        yield
    except SAYING:
        raise
    except Exception as error:
        from ..core.grad_modes import user_place

        at = "" if isinstance(error, SyntaxError) else f", at {user_place(error.__traceback__)}"
        raise ValueError(f"{name} fails: {type(error).__name__}: {message(error)}{at}") from error


def _is_adapter(made: Any) -> bool:
    return not isinstance(made, type) and all(hasattr(made, part) for part in PARTS)


def _article(thing: Any) -> str:
    name = type(thing).__name__
    return "None" if thing is None else f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules of `folder` can be imported, as by `python -m` from there."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def check_call(module: nn.Module, what: str, arguments: Sequence[str], gives: str) -> None:
    """Raises TypeError, with the contract, for a module of the user's whose forward does not take `arguments` in this order."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # compiled code has none
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        call = f"{what}({', '.join(arguments)})"
        raise TypeError(
            f"{what}: it is called as {call} and gives {gives}, but {type(module).__name__}.forward takes {signature} ({error}): "
            f"wrap it in a module whose forward does (docs/how-to/captioner.md)"
        ) from None
