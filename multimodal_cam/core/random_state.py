"""The random state is the process's: who has to draw from it does so alone, and puts it back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from torch import Tensor, nn

_drawing = threading.RLock()
_call: ContextVar[dict[int | None, Tensor] | None] = ContextVar("multimodal_cam_random_states", default=None)


@contextmanager
def drawing(module: nn.Module | None = None) -> Iterator[None]:
    """For code that is known to draw (sampling, new weights): afterwards the random state is what it was.

    One of our threads at a time is in here. What another thread draws in the meantime is taken back with our draws: hence no
    whole explanation is in here. Within `undrawn_state`, each time goes on where the last one ended.
    """
    call = _call.get()
    with _drawing, torch.random.fork_rng(devices=_cuda_devices(module)):
        if call:
            _set_states(call)
        yield
        if call is not None:
            call.update(_states(module))


@contextmanager
def undrawn_state(module: nn.Module | None = None) -> Iterator[None]:
    """A whole call, whose forwards seldom draw in evaluation mode: afterwards the random state is what it was.

    Where another thread ran in the meantime, a change of that state may be its, and is left alone. One that began and ended
    meanwhile is not seen.
    """
    others, outer = _times_of_others(), _call.get()
    before = _states(module)
    _call.set({})
    try:
        yield
    finally:
        _call.set(outer)
        changed = any(not torch.equal(state, before[device]) for device, state in _states(module).items())
        if changed and others == _times_of_others():
            _set_states(before)


def _times_of_others() -> dict[int, int]:
    """Nanoseconds of processor time of each other thread so far; where the system does not say, another number every time."""
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    return {thread.ident: _processor_time(thread.native_id) for thread in others if thread.ident is not None}


def _processor_time(native_id: int | None) -> int:
    try:
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return -time.monotonic_ns()


def _cuda_devices(module: nn.Module | None) -> list[int]:
    weights = () if module is None else module.parameters()
    return sorted({weight.device.index for weight in weights if weight.device.type == "cuda"})


def _states(module: nn.Module | None) -> dict[int | None, Tensor]:
    """The generators' states: the CPU's for None, those of the module's CUDA devices."""
    return {None: torch.get_rng_state()} | {index: torch.cuda.get_rng_state(index) for index in _cuda_devices(module)}


def _set_states(states: dict[int | None, Tensor]) -> None:
    for device, state in states.items():
        if device is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)
