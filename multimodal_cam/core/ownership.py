"""Whose a hook is: hooks are a module's, and so everybody's, unless they ask who is calling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

_inside: ContextVar[frozenset[Owner]] = ContextVar("multimodal_cam_owners", default=frozenset())


class Owner:
    """The thread or task that is inside `with Owner() as owner`, and all that it hands its context to.

    `asyncio.to_thread` hands it on, and so does `contextvars.copy_context().run`; a plain `threading.Thread` does not.
    """

    def __enter__(self) -> Self:
        _inside.set(_inside.get() | {self})
        return self

    def __exit__(self, *error: object) -> None:
        _inside.set(_inside.get() - {self})  # not what it was before: contexts need not end in the order of their beginning

    @property
    def is_calling(self) -> bool:
        """Whether the code that asks runs inside."""
        return self in _inside.get()


@contextmanager
def disowned() -> Iterator[None]:
    """For a call within a call: hooks of the outer one do not act on what the inner one runs."""
    outer = _inside.get()
    _inside.set(frozenset())
    try:
        yield
    finally:
        _inside.set(outer)


class OwnedHook:
    """A hook that acts for its owner only: whoever else runs the module passes untouched."""

    __slots__ = ("hook", "owner")

    def __init__(self, owner: Owner, hook: Callable[..., Any]) -> None:
        self.owner, self.hook = owner, hook

    def __call__(self, *args: Any) -> Any:
        return self.hook(*args) if self.owner.is_calling else None
