"""Compiled networks run as they are written while they are looked into: hooks do not reach into compiled code."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_lock = threading.Lock()
_users = 0
_stance: Any = None


@contextmanager
def eager_mode() -> Iterator[None]:
    """Inside, in all threads, what `torch.compile` compiled runs uncompiled; it stays compiled, and usable, afterwards.

    The switch is the process's: the first of several calls at once sets it, the last one puts it back.
    """
    if "torch._dynamo" not in sys.modules:  # it takes a second to load, and without it nothing is compiled
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users, _stance
    with _lock:
        if _users == 0:
            _stance = torch.compiler.set_stance("force_eager")
            _stance.__enter__()
        _users += 1


def _leave() -> None:
    global _users, _stance
    with _lock:
        _users -= 1
        if _users == 0 and _stance is not None:
            _stance.__exit__(None, None, None)
            _stance = None
