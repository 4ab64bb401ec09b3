"""Parts of a network that an adapter keeps by their names: what takes their place later (LoRA, a new head) is what counts."""

from __future__ import annotations

from typing import Any, overload

from torch import nn


class FollowedPart:
    """Attribute of an adapter for a part of its `module`, None by default: reading it gives what has the part's name now.

    Reading raises ValueError where the network no longer has that name. A module that is no part of the network is kept itself.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self._slot = name, f"_{name}"

    @overload
    def __get__(self, adapter: None, owner: type) -> None: ...
    @overload
    def __get__(self, adapter: Any, owner: type) -> nn.Module | None: ...
    def __get__(self, adapter: Any, owner: type) -> nn.Module | None:
        part, path = (None, None) if adapter is None else vars(adapter).get(self._slot, (None, None))
        if path is None:
            return part
        try:
            return adapter.module.get_submodule(path)  # type: ignore[no-any-return]
        except AttributeError:
            raise ValueError(
                f"{self.name}: this {type(adapter.module).__name__} no longer has {path!r}: make the model anew from it"
            ) from None

    def __set__(self, adapter: Any, part: nn.Module | None) -> None:
        path = next((name for name, module in adapter.module.named_modules() if module is part), None)
        vars(adapter)[self._slot] = (part, path)
