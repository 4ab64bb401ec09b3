"""From a layer's name to the module, and back."""

from __future__ import annotations

import difflib

from torch import nn

from .contract import TaskAdapter
from .unwrapping import bare_name, unwrapped


def resolve_layer(model: TaskAdapter, layer: str | nn.Module | None) -> tuple[nn.Module, str]:
    """The module and its dotted name; the model's own layer for None.

    Raises ValueError, with near names, if the model has no such layer.
    """
    names = {module: name for name, module in model.module.named_modules()}
    if layer is None:
        return model.layer, names.get(model.layer, "layer")
    if isinstance(layer, nn.Module):
        if layer not in names:
            layer = unwrapped(layer, "layer")
        if layer not in names:
            raise ValueError(f"layer: this {type(layer).__name__} is not a part of the model {model.name!r}")
        return layer, names[layer]
    modules = {name: module for name, module in model.module.named_modules() if name}
    if layer not in modules and bare_name(layer) in modules:
        layer = bare_name(layer)
    if layer not in modules:
        shown = list(modules) if len(modules) <= 12 else difflib.get_close_matches(layer, modules, n=8, cutoff=0.3)
        raise ValueError(f"unknown layer {layer!r}; choose from {', '.join(shown)}")
    return modules[layer], layer
