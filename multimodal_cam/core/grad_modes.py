"""Gradient switches in a user's own forward: a layer inside a frozen backbone still starts a graph that lasts to the end.

Show-and-Tell tutorials run their backbone under `torch.no_grad()`, others under `inference_mode` or reentrant checkpointing.
The tapped layer then lies inside a block whose end would switch gradients off again. While a `GradModeWatch` lasts, such a
block, opened before the layer ran, leaves gradients as the tap wants them; one that is opened behind the layer means what it
says. Inference mode counts as `no_grad`, since its tensors cannot enter a graph, and checkpoints keep what they compute.

PyTorch offers no hook for this, so methods of its context managers are wrapped: for the thread that watches, while it watches.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch.utils import checkpoint

UNKNOWN_PLACE = "an unknown line"
PACKAGES = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))  # frames of these are not the user's
BLOCKS = (torch.no_grad, torch.enable_grad, torch.set_grad_enabled, torch.inference_mode)

CHECKPOINT_GENERATORS = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")  # by version

_lock = threading.Lock()
_saved: list[tuple[Any, str, Any]] = []  # (holder, name, its own value) of everything that is wrapped now
_watching = 0


class _Watches(threading.local):
    """The watches of one thread, and the mode before each of its inference blocks, which count as `no_grad`."""

    def __init__(self) -> None:
        self.active: list[GradModeWatch] = []
        self.keep_on = False
        self.but: str | None = None
        self.before_inference: dict[int, bool] = {}


class GradModeWatch:
    """The blocks that the user's code has open, and which of them enclose the layer: `with GradModeWatch() as watch`.

    `switched_off` says, once the layer has run, where blocks behind it were opened that switch gradients off.
    """

    def __init__(self) -> None:
        self.open: list[object] = []
        self.enclosing: list[object] = []
        self.wanted: bool | None = None
        self.switched_off: list[str] = []

    def __enter__(self) -> GradModeWatch:
        _install()
        _watches.active.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _watches.active.remove(self)
        _uninstall()

    def reach_layer(self, wanted: bool) -> None:
        """Take the blocks that are open for enclosing the layer, and set the mode in which the network goes on."""
        self.enclosing, self.wanted = [*self.open], wanted
        torch.set_grad_enabled(wanted)

    def opened(self, block: object) -> None:
        self.open.append(block)
        if self.wanted and not torch.is_grad_enabled():
            place = f"{user_place(sys._getframe())} (torch.{type(block).__name__})"
            if place not in self.switched_off:
                self.switched_off.append(place)
            is_ours = is_own_frame(sys._getframe(2))  # values that are kept for other calls must not hold a graph
            if _watches.keep_on and place != _watches.but and not is_ours:
                torch.set_grad_enabled(True)

    def closed(self, block: object) -> None:
        self.open = [other for other in self.open if other is not block]
        if self.wanted is not None and any(other is block for other in self.enclosing):
            torch.set_grad_enabled(self.wanted)


_watches = _Watches()


@contextmanager
def gradients_kept_on(but: str | None = None) -> Iterator[None]:
    """Inside, blocks behind a tapped layer switch nothing off, except those opened at `but`: to see which loses a gradient."""
    _watches.keep_on, _watches.but = True, but
    try:
        yield
    finally:
        _watches.keep_on, _watches.but = False, None


@contextmanager
def gradients_from_inputs() -> Iterator[None]:
    """Inside, a graph begins at the network's inputs: no block of the user's code, around a frozen backbone, say, ends it."""
    with torch.enable_grad(), GradModeWatch() as watch, gradients_kept_on(), numpy_errors_explained("pixels"):
        watch.reach_layer(True)
        yield


def is_own_frame(frame: FrameType) -> bool:
    """Whether this package runs there."""
    return frame.f_code.co_filename.startswith(PACKAGES[1])


def user_place(at: FrameType | TracebackType | None) -> str:
    """`file:line` of the innermost frame of the user's own code."""
    place = UNKNOWN_PLACE
    while isinstance(at, FrameType):
        if not at.f_code.co_filename.startswith(PACKAGES):
            return f"{at.f_code.co_filename}:{at.f_lineno}"
        at = at.f_back
    while at is not None:
        if not at.tb_frame.f_code.co_filename.startswith(PACKAGES):
            place = f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}"
        at = at.tb_next
    return place


@contextmanager
def numpy_errors_explained(layer_name: str) -> Iterator[None]:
    """Turn PyTorch's error about a value that leaves for numpy into one that names the layer and the user's line."""
    try:
        yield
    except RuntimeError as error:
        if "numpy() on Tensor that requires grad" not in str(error):
            raise
        raise ValueError(
            f"your forward leaves PyTorch for numpy behind layer {layer_name!r}, at {user_place(error.__traceback__)}: no "
            "gradient comes back from there; choose a layer after that line"
        ) from error


# ---- wrapping ------------------------------------------------------------------------------------------------------------------


def _install() -> None:
    global _watching
    with _lock:
        _watching += 1
        if _watching > 1:
            return
        for block_class in BLOCKS:
            _replace(block_class, "__enter__", _entering(block_class.__enter__))
            _replace(block_class, "__exit__", _exiting(block_class.__exit__))
        _replace(checkpoint, "CheckpointFunction", _checkpoint_function(checkpoint.CheckpointFunction))
        for name in CHECKPOINT_GENERATORS:
            if hasattr(checkpoint, name):
                _replace(checkpoint, name, _checkpoint_generator(getattr(checkpoint, name)))


def _uninstall() -> None:
    global _watching
    with _lock:
        _watching -= 1
        while _saved and not _watching:
            setattr(*_saved.pop())


def _replace(holder: Any, name: str, value: Any) -> None:
    _saved.append((holder, name, getattr(holder, name)))
    setattr(holder, name, value)


def _entering(own: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def enter(block: Any) -> Any:
        if not _watches.active:
            return own(block)
        if isinstance(block, torch.inference_mode):
            _watches.before_inference[id(block)] = torch.is_grad_enabled()
            torch.set_grad_enabled(torch.is_grad_enabled() and not block.mode)
            entered = None
        else:
            entered = own(block)
        for watch in _watches.active:
            watch.opened(block)
        return entered

    return enter


def _exiting(own: Callable[..., Any]) -> Callable[..., Any]:
    def leave(block: Any, *error: Any) -> Any:
        before = _watches.before_inference.pop(id(block), None)
        if before is None:
            own(block, *error)
        else:
            torch.set_grad_enabled(before)
        for watch in _watches.active:
            watch.closed(block)

    return leave


def _checkpoint_function(own: Any) -> Any:
    """A stand-in for `CheckpointFunction` that keeps what the function computes, for threads that watch."""

    class KeptCheckpoint:
        @staticmethod
        def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
            return function(*args) if _watches.active else own.apply(function, preserve, *args)

    return KeptCheckpoint


def _checkpoint_generator(own: Any) -> Any:
    def generator(*args: Any, **options: Any) -> Iterator[None]:
        if _watches.active:
            yield
        else:
            yield from own(*args, **options)

    return generator
