"""What `layer=` and `fuse=` ask for: one layer, or several whose maps become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from .core.layer_fusion import Fusion
from .methods.spec import MethodSpec

Layer = TypeVar("Layer")


def listed_layers(layer: Any, fuse: str | None, spec: MethodSpec) -> list[Any]:
    """The layers that are asked for, one or several.

    Raises ValueError for an empty list, an unknown `fuse`, one without a list, and a method that has no map of several layers.
    """
    if fuse is not None and fuse not in get_args(Fusion):
        raise ValueError(f"unknown fuse {fuse!r}; choose from {', '.join(get_args(Fusion))}")
    if not isinstance(layer, (list, tuple)):
        if fuse is not None:
            raise ValueError(f"fuse={fuse!r} makes one map of those of several layers: pass layer=[...], or leave fuse out")
        return [layer]
    if not layer or None in layer:
        raise ValueError(f"layer: expected a layer, or a list of one or more, got {list(layer)!r}")
    if len(layer) > 1 and (spec.pixels is not None or spec.kind == "attention"):
        raise ValueError(f"{spec.name} has no maps of several layers: leave layer= out, or take a method such as layer_cam")
    return list(layer)


def without_repeats(layers: Sequence[tuple[Layer, str]]) -> list[tuple[Layer, str]]:
    """The same layers. Raises ValueError if one is listed twice."""
    names = [name for _, name in layers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"layer: {name!r} is listed {names.count(name)} times, expected each layer once")
    return list(layers)
