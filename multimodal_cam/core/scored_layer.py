"""A function that scores inputs, cut at a layer of whatever network it runs: the layer by name, its view, its rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from .gradient_diagnosis import lost_gradient_reason
from .hooks import HookStack, LayerTap
from .layer_layout import LAYOUT_CHOICES, AxesView, LayerLayout, parse_layout
from .layout_measurement import MeasuredLayer, has_pictures, measure_layers, rows_and_size
from .output_parts import tensors_in

_measured: WeakKeyDictionary[nn.Module, dict[Any, MeasuredLayer]] = WeakKeyDictionary()


@dataclass(frozen=True)
class ScoredLayer:
    """`fn` and the run `call` of `layer` in it, seen through `view`.

    `frames`: the layer's rows are frames of one clip each, whatever the number of scores.
    """

    fn: Callable[..., Any]
    layer: nn.Module
    view: AxesView
    call: int
    frames: bool = False
    name: str = field(default="layer")

    @classmethod
    def of(cls, fn: Callable[..., Any], layer: nn.Module, inputs: Any, layout: str | None, call: int | None) -> ScoredLayer:
        """The layer with its layout: the one that is given, or the one that is measured.

        Raises ValueError if the layer never runs, if it runs several times and `call` does not say which, or if it has no grid.
        """
        found = _measure(fn, layer, inputs, call or 0)
        name = type(layer).__name__
        _check_call(name, found.calls, call)
        frames = layout is not None and layout.replace(" ", "").startswith("t")
        given = None if layout is None else parse_layout("b" + layout.replace(" ", "")[1:] if frames else layout)
        layouts = found.layouts if given is None else _as_given(given, found)
        if len(layouts) != 1:
            raise ValueError(_refusal(name, found, given, inputs))
        return cls(fn, layer, AxesView(layouts[0], rows_and_size(inputs)[1]), call or 0, frames, name)

    def tap(self, *, leaf: bool = False, replace: Tensor | None = None) -> LayerTap:
        return LayerTap(self.layer, self.name, leaf=leaf, replace=replace, view=self.view, call=self.call)

    def run(self, inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """The layer's activations `(r, ...)`, the scores, and the leaf in the layer's place that they come from."""
        with torch.no_grad(), self.tap(leaf=True) as tap:
            scores = run_with(self.fn, inputs)
        activations = tap.activations
        assert tap.leaf is not None
        if not isinstance(scores, Tensor):
            raise ValueError(f"fn: expected a tensor of scores, got {type(scores).__name__}")
        if not scores.requires_grad:
            reason = self.lost_gradient(inputs)
            raise ValueError(
                "fn: the scores do not depend on the layer in a way that can be differentiated: return what is computed from it, "
                f"before argmax, detach, item or numpy{'' if reason is None else f' ({reason})'}"
            )
        return activations, scores, tap.leaf

    def lost_gradient(self, inputs: Any) -> str | None:
        """Where the user's code loses the gradient; None if that is not seen."""
        return lost_gradient_reason(self.tap(leaf=True), lambda: run_with(self.fn, inputs))

    def grid_shape(self, cells: Tensor, activations: Tensor) -> tuple[int, ...]:
        """The shape of a map: `(h, w)`, `(t, h, w)` of a video layer, `(r,)` of regions."""
        axes, h, w = self.view.layout.axes, cells.shape[-2], cells.shape[-1]
        if "r" in axes:
            return (h,)
        if "t" in axes:
            t = activations.shape[axes.replace("b", "").index("t") + 1]
            return (t, h // t, w)
        return (h, w)


def run_with(fn: Callable[..., Any], inputs: Any) -> Any:
    """`fn` with a tensor, with several arguments, or with a dict: by name if it has such parameters, else as it is."""
    if isinstance(inputs, Tensor):
        return fn(inputs)
    if not isinstance(inputs, Mapping):
        return fn(*inputs)
    try:
        inspect.signature(fn.forward if isinstance(fn, nn.Module) else fn).bind(**inputs)
    except TypeError:
        return fn(inputs)
    return fn(**inputs)


def find_module(fn: Callable[..., Any], name: str, inputs: Any) -> nn.Module:
    """The module of this dotted name in a network that `fn` runs: `layer4`, or `model.layer4` with the variable's own name.

    Raises ValueError, with the names there are, if there is none.
    """
    roots = _networks(fn) | {f"network {i}": module for i, module in enumerate(_called_networks(fn, inputs))}
    found: dict[nn.Module, str] = {}
    for variable, root in roots.items():
        for inner, module in root.named_modules():
            if name in (inner, f"{variable}.{inner}" if inner else variable):
                found[module] = inner
    if len(found) == 1:
        return next(iter(found))
    names = list(dict.fromkeys(inner for root in roots.values() for inner, _ in root.named_modules() if inner))
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    what = f"unknown layer {name!r}" if not found else f"layer {name!r} is in {len(found)} networks: pass the module itself"
    raise ValueError(f"{what}; the network that fn runs has {shown or 'no modules'}")


def _networks(fn: Any) -> dict[str, nn.Module]:
    """The modules that `fn` is, belongs to, closes over or names."""
    while hasattr(fn, "func"):  # functools.partial
        fn = fn.func
    if isinstance(fn, nn.Module):
        return {"fn": fn}
    inner = inspect.unwrap(fn)
    function = getattr(inner, "__func__", inner)
    try:
        variables = inspect.getclosurevars(function)
    except TypeError:
        return {}
    named: dict[str, Any] = {**variables.globals, **variables.nonlocals, "self": getattr(inner, "__self__", None)}
    return {name: value for name, value in named.items() if isinstance(value, nn.Module)}


def _called_networks(fn: Callable[..., Any], inputs: Any) -> list[nn.Module]:
    """The modules that `fn` calls itself, not those that these call."""
    outermost: dict[nn.Module, None] = {}
    depth = 0

    def begin(module: nn.Module, _args: Any) -> None:
        nonlocal depth
        if depth == 0:
            outermost[module] = None
        depth += 1

    def end(_module: nn.Module, _args: Any, _output: Any) -> None:
        nonlocal depth
        depth -= 1

    with torch.no_grad(), HookStack() as stack:
        stack.add(register_module_forward_pre_hook, begin)
        stack.add(register_module_forward_hook, end)
        run_with(fn, inputs)
    return list(outermost)


def _measure(fn: Callable[..., Any], layer: nn.Module, inputs: Any, call: int) -> MeasuredLayer:
    """The layer's measurement, remembered for inputs of the same shapes."""
    key = (call, tuple((path, tensor.shape) for path, tensor in tensors_in(inputs)))
    known = _measured.setdefault(layer, {})
    if key not in known:
        found = measure_layers(lambda changed: run_with(fn, changed), inputs, [layer], call=call, folded=True)[layer]
        if not found.layouts:
            return found
        known[key] = replace(found, form=None)
    return known[key]


def _check_call(name: str, calls: int, call: int | None) -> None:
    if calls == 0:
        raise ValueError(f"layer {name!r} never ran: choose one that this model uses")
    if call is None and calls > 1:
        raise ValueError(
            f"layer {name!r} ran {calls} times in one forward pass: say which run is explained by call=0 to call={calls - 1}, or "
            'call="all" for the maps of each'
        )
    if call is not None and not 0 <= call < calls:
        raise ValueError(f"call: expected 0 to {calls - 1}, since layer {name!r} ran {calls} times, got {call}")


def _as_given(given: LayerLayout, found: MeasuredLayer) -> tuple[LayerLayout, ...]:
    """The layout that was given, for each tensor that has so many axes."""
    return tuple(replace(given, path=path) for path, shape in found.shapes.items() if len(shape) == len(given.axes))


def _refusal(name: str, found: MeasuredLayer, given: LayerLayout | None, inputs: Sequence[Any]) -> str:
    shapes = " and ".join(map(str, found.shapes.values()))
    what = f"shape {shapes}" if list(found.shapes) == [()] else f"{type(found.form).__name__} of {shapes or 'no tensors'}"
    if given is not None:
        return f"layer {name!r} gives {what}, expected {given.shape_words} once, as layout= says"
    if len(found.layouts) > 1:
        return f"layer {name!r} gives {what}, {len(found.layouts)} grids, expected one: choose a layer that gives one of them"
    why = "that follow the photo" if has_pictures(inputs) else "(no input is a photo, which could be measured)"
    return (
        f"layer {name!r} gives {what}, expected a grid (b, c, h, w), (b, h, w, c) or tokens (b, n, c) {why}: choose another "
        f"layer, or say by layout= what its axes are ({LAYOUT_CHOICES})"
    )
