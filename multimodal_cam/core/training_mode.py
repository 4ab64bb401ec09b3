"""Evaluation mode of a call, not of a module: `module.training` is read by each call for itself.

PyTorch keeps the mode in the module, where it is everybody's: to switch it is to switch it for a thread that trains the same
network. So it is not switched. `nn.Module.training` becomes a descriptor, once in a process, when the first call needs it. Inside
`reads_as_evaluation` it reads False, and what is written there (`module.eval()` in somebody's forward) is forgotten at the end;
everywhere else it reads and writes the module's own flag, as before. Compiled modules are the exception: see
`switched_where_compiled`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn


class ModesOfCall:
    """What a call reads as the mode of `parts` (of every module for None), until it is closed; `outer` is the call around it."""

    def __init__(self, parts: Collection[nn.Module] | None, outer: ModesOfCall | None) -> None:
        self.parts = None if parts is None else frozenset(parts)
        self.outer = outer
        self.written: dict[nn.Module, bool] = {}
        self.closed = False

    def holds(self, module: nn.Module) -> bool:
        return self.parts is None or module in self.parts


_modes: ContextVar[ModesOfCall | None] = ContextVar("multimodal_cam_modes", default=None)


def _modes_of(module: nn.Module) -> ModesOfCall | None:
    """The innermost open call that has a mode of its own for this module."""
    modes = _modes.get()
    while modes is not None and (modes.closed or not modes.holds(module)):
        modes = modes.outer
    return modes


class TrainingFlag:
    """`nn.Module.training`: the call's where there is one, else the module's own."""

    def __get__(self, module: nn.Module | None, _type: Any = None) -> Any:
        if module is None:
            return self
        if _modes.get() is not None and (modes := _modes_of(module)) is not None:
            return modes.written.get(module, False)
        try:
            return module.__dict__["training"]
        except KeyError:  # TorchScript's modules keep theirs elsewhere, and find it when this is said
            raise AttributeError(f"{type(module).__name__!r} object has no attribute 'training'") from None

    def __set__(self, module: nn.Module, value: bool) -> None:
        modes = _modes_of(module)
        if modes is None or "training" not in module.__dict__:  # a module that is being made
            module.__dict__["training"] = value
        else:
            modes.written[module] = value

    def __delete__(self, module: nn.Module) -> None:
        module.__dict__.pop("training", None)


_flag = TrainingFlag()
_installing = threading.Lock()


def _install() -> None:
    with _installing:
        if nn.Module.__dict__.get("training") is not _flag:
            nn.Module.training = _flag  # type: ignore[assignment]


@contextmanager
def reads_as_evaluation(parts: Collection[nn.Module] | None) -> Iterator[None]:
    """Inside, `parts` (every module for None) read as in evaluation mode for this call, and for nobody else."""
    _install()
    before = _modes.get()
    modes = ModesOfCall(parts, before)
    _modes.set(modes)
    try:
        yield
    finally:
        modes.closed = True
        _modes.set(before)


@contextmanager
def switched_where_compiled(module: nn.Module) -> Iterator[None]:
    """Compiled modules do not ask Python for their mode: with all that is in them they are switched, for everybody, and back."""
    parts = list(module.modules())
    compiled = any(map(is_compiled, parts))
    switched = [part for part in parts if (compiled or _shadows_flag(part)) and _own_flag(part)]
    try:
        for part in switched:
            _set_own_flag(part, False)
        yield
    finally:
        for part in switched:
            _set_own_flag(part, True)


def is_compiled(part: nn.Module) -> bool:
    """Whether TorchScript, `torch.compile` or `module.compile()` made it."""
    scripted = isinstance(part, torch.jit.ScriptModule)
    return scripted or "_orig_mod" in part._modules or part._compiled_call_impl is not None


def _shadows_flag(part: nn.Module) -> bool:
    """Whether its class has a `training` of its own."""
    return getattr(type(part), "training", _flag) is not _flag


def _own_flag(part: nn.Module) -> bool:
    return bool(part.__dict__["training"] if "training" in part.__dict__ else part.__getattr__("training"))  # TorchScript's


def _set_own_flag(part: nn.Module, value: bool) -> None:
    if "training" in part.__dict__:
        part.__dict__["training"] = value
    else:
        part.training = value
