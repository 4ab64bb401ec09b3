"""A module's output as people return it: a tensor, or a tuple, list, dict or dataclass that holds tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

Path = tuple[Any, ...]  # keys, indices and field names from the output down to one tensor


def tensors_in(output: Any) -> list[tuple[Path, Tensor]]:
    """Every tensor of an output and its path; `()` is the path of an output that is a tensor itself."""
    if isinstance(output, Tensor):
        return [((), output)]
    return [((key, *path), tensor) for key, part in _parts(output) for path, tensor in tensors_in(part)]


def part_at(output: Any, path: Path) -> Any:
    """What stands at `path`; None if nothing does."""
    for key in path:
        output = dict(_parts(output)).get(key)
    return output


def with_part(output: Any, path: Path, part: Any) -> Any:
    """A copy of the output with `part` at `path`; everything else is the same object."""
    if not path:
        return part
    key, inner = path[0], with_part(part_at(output, path[:1]), path[1:], part)
    if isinstance(output, Mapping):
        copied: Any = copy.copy(output)
        copied[key] = inner
        return copied
    if isinstance(output, (tuple, list)):
        return _sequence_like(output, [inner if i == key else other for i, other in enumerate(output)])
    return replace(output, **{key: inner})


def map_tensors(output: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A copy of the output with `function` applied to every tensor."""
    for path, tensor in tensors_in(output):
        output = with_part(output, path, function(tensor))
    return output


def _parts(output: Any) -> list[tuple[Any, Any]]:
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, (tuple, list)):
        return list(enumerate(output))
    if is_dataclass(output) and not isinstance(output, type):
        return [(field.name, getattr(output, field.name)) for field in fields(output)]
    return []


def _sequence_like(output: Any, parts: Iterable[Any]) -> Any:
    """The parts as a tuple, list or named tuple of the output's own type."""
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
