"""The only cache of what is computed from a network or a processor: activations of no photo, text features, placements."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class StateCache(Generic[T]):
    """Keeps values until the state that they were computed in is another one; copies of a cache start empty.

    Args:
        size: How many values are kept, the latest ones.
    """

    def __init__(self, size: int = 8) -> None:  # photos of a data set have a few sizes
        self._size = size
        self._values: dict[Hashable, T] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_size": self._size, "_values": {}}

    def value(self, state: Hashable | None, compute: Callable[[], T]) -> T:
        """What `compute()` gives without a graph, or gave the last time for the same `state`.

        `state` is a key of all that the value depends on, such as `pass_state` gives; None, an unknown one, keeps nothing.
        """
        if state is not None and state in self._values:
            return self._values[state]
        with torch.inference_mode(False), torch.no_grad():
            value = compute()
        if state is not None:
            kept = [*self._values.items(), (state, value)]
            self._values = dict(kept[-self._size :])  # one assignment: other threads see the old ones or the new ones
        return value
