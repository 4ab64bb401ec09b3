"""Layers of an unknown network that a map can be made of: they follow the photo, run once, and the output depends on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from ..core.hooks import LayerTap, forward_hooks
from ..core.layer_layout import AxesView
from ..core.layout_measurement import MeasuredLayer, measure_layers, rows_and_size
from ..core.output_parts import tensors_in

# what gives a grid and is no layer to look at: it pools the last one away, or hands it on
PASSED_OVER = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)
MEASURED_AT_ONCE = 24  # layers whose outputs for one photo are kept in memory together


def working_layers(
    run: Callable[[Any], Any], pixels: Tensor, modules: Collection[nn.Module]
) -> Iterator[tuple[nn.Module, MeasuredLayer]]:
    """Those of `modules` that a map can be made of, the last to finish first; behind them those that are one branch of several.

    Tokens count where they are as wide as the last ones: not queries and keys of fewer channels, nor the inside of an MLP.
    """
    shapes = _shapes_in_order(run, pixels, modules)
    width: int | None = None
    while shapes:
        shapes, part = shapes[:-MEASURED_AT_ONCE], shapes[-MEASURED_AT_ONCE:]
        measured = measure_layers(run, pixels, [module for module, _ in part])
        for module, _ in reversed(part):
            found = measured[module]
            if len(found.layouts) != 1:
                continue
            view = AxesView(found.layouts[0], rows_and_size(pixels)[1])
            if "n" in view.layout.axes:
                width = width or _width(found)
                if _width(found) != width:
                    continue
            if reaches_output(run, pixels, module, view):
                yield module, found


def reaches_output(run: Callable[[Any], Any], pixels: Any, layer: nn.Module, view: AxesView) -> bool:
    """Whether the output of `run` depends on more than one cell of the layer, in a way that can be differentiated."""
    with torch.no_grad(), LayerTap(layer, leaf=True, view=view) as tap:
        outputs = [tensor for _, tensor in tensors_in(run(pixels)) if tensor.requires_grad]
    if tap.leaf is None or not outputs:
        return False
    weights = [torch.rand(out.shape, generator=torch.Generator().manual_seed(0)).to(out) - 0.5 for out in outputs]
    with torch.enable_grad():
        finite = [weight * torch.where(out.isfinite(), out, 0) for weight, out in zip(weights, outputs, strict=True)]
        (gradient,) = torch.autograd.grad([term.sum() for term in finite], tap.leaf, allow_unused=True)
    return gradient is not None and int(view.cells(gradient).any(dim=-3).sum()) > 1


def _shapes_in_order(
    run: Callable[[Any], Any], pixels: Tensor, modules: Collection[nn.Module]
) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """The modules that may be a layer by the shape of what they give, in the order in which they finish, branches first.

    Modules that read the same tensor side by side are branches (queries, keys and values; a shortcut with a convolution): each
    holds a part only of what goes on, so that the layer before them says more.
    """
    ran: list[tuple[nn.Module, tuple[int, ...]]] = []
    readers: list[tuple[ReferenceType[Tensor], nn.Module]] = []
    branches: set[nn.Module] = set()

    def note(module: nn.Module, args: Any, output: Any) -> None:
        shapes = [tuple(tensor.shape) for _, tensor in tensors_in(output)]
        ran.append((module, next((shape for shape in shapes if _has_cells(shape)), ())))
        if not args or not isinstance(args[0], Tensor) or output is args[0]:  # in place, or nothing: it hands the tensor on
            return
        beside = [other for read, other in readers if read() is args[0] and not _holds(module, other)]
        branches.update([module, *beside] if beside else [])
        readers.append((ref(args[0]), module))

    with torch.no_grad(), forward_hooks(modules, note):
        run(pixels)
    order = [module for module, _ in ran]
    found = [
        (module, shape) for module, shape in ran if shape and order.count(module) == 1 and not isinstance(module, PASSED_OVER)
    ]
    return sorted(found, key=lambda pair: pair[0] not in branches)


def _holds(module: nn.Module, other: nn.Module) -> bool:
    """Whether one of the two is a part of the other: then both read what the outer one gets."""
    return other in module.modules() or module in other.modules()


def _has_cells(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape may be a grid, or tokens, of more than one cell."""
    return len(shape) in (3, 4) and sum(size > 1 for size in shape[1:]) >= len(shape) - 2 and min(shape) > 0


def _width(found: MeasuredLayer) -> int:
    layout = found.layouts[0]
    return found.shapes[layout.path][layout.axes.index("c")]
