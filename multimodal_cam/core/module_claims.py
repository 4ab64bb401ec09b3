"""One call at a time on a module: calls that share modules wait for each other, others run side by side."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn


class ModuleClaim:
    """The modules of a call, from its arrival in the queue to its end."""

    def __init__(self, module: nn.Module) -> None:
        self.modules = frozenset(module.modules())
        self.open = True

    def is_next(self) -> bool:
        """Whether none of its modules is wanted by a call that came before: those that run are in the queue, too."""
        earlier = _queue[: _queue.index(self)]
        return all(self.modules.isdisjoint(other.modules) for other in earlier)


_queue: list[ModuleClaim] = []  # in order of arrival; the first ones run
_changed = threading.Condition()
_own: ContextVar[ModuleClaim | None] = ContextVar("multimodal_cam_claim", default=None)


@contextmanager
def exclusive(module: nn.Module) -> Iterator[None]:
    """Inside, no other call uses a module of `module`: this one waits until it is its turn, first come, first served.

    A call takes all its modules at once and never waits while it holds some, so that no circle of waiting calls can arise: a
    call inside another one (`explain` in a score of the user's) goes ahead without asking. Who only runs the module, outside of
    any call, neither waits nor is waited for.
    """
    outer = _own.get()
    if outer is not None and outer.open:
        yield
        return
    claim = ModuleClaim(module)
    try:
        with _changed:
            _queue.append(claim)
            _changed.wait_for(claim.is_next)
        _own.set(claim)
        yield
    finally:
        _own.set(outer)
        claim.open = False
        with _changed:
            if claim in _queue:
                _queue.remove(claim)
            _changed.notify_all()


def _forget_other_threads() -> None:
    """In a forked process only the thread that forked lives on; the calls of the others never end."""
    global _changed
    _changed = threading.Condition()
    own = _own.get()
    _queue[:] = [own] if own is not None and own.open else []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)
