"""Another forward for one module and one call; whoever else runs the module gets its own."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .ownership import Owner

_replacing = threading.Lock()


class ReplacedForward:
    """Stands in the place of `module.forward`: `forward` for its owner, for everybody else what was there before, `below`."""

    def __init__(self, owner: Owner, module: nn.Module, forward: Callable[..., Any]) -> None:
        self.owner, self.forward = owner, forward
        self.below: Callable[..., Any] | None = module.__dict__.get("forward")
        self.of_class = types.MethodType(type(module).forward, module)
        self.ended = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.below = _going_on(self.below)
        forward = self.forward if self.owner.is_calling else self.below or self.of_class
        return forward(*args, **options)


def _going_on(forward: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """The first of a chain of replacements that has not ended: calls need not end in the order of their beginning."""
    while isinstance(forward, ReplacedForward) and forward.ended:
        forward = forward.below
    return forward


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Another `forward` for this one module and this call, as long as this lasts."""
    with Owner() as owner:
        with _replacing:
            replaced = module.__dict__["forward"] = ReplacedForward(owner, module, forward)
        try:
            yield
        finally:
            replaced.ended = True
            with _replacing:
                top = _going_on(module.__dict__.get("forward"))
                if top is None:
                    module.__dict__.pop("forward", None)  # another call may have taken it away with its own
                else:
                    module.__dict__["forward"] = top
