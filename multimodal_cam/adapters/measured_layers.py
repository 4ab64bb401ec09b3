"""Views of the layers of a user's own network: a layout is said by hand, or measured once and remembered."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..core.call_scope import unchanged_state
from ..core.layer_layout import LAYOUT_CHOICES, AxesView, LayerLayout
from ..core.layer_view import GridView, LayerView
from ..core.layout_measurement import MeasuredLayer, has_pictures, measure_layers, rows_and_size
from .given_layouts import GivenLayouts
from .inputs import Inputs
from .layer_search import reaches_output, working_layers


class MeasuredLayers:
    """The layouts of the layers of `module`, in which `encoder` reads the photo.

    Args:
        layouts: What the user says of the tapped layer, or of layers by their dotted names; the others are measured.
        encode: Runs the encoder: `encode(pixels)`.
        logits: Runs the whole model: `logits(inputs, ids)`.
    """

    def __init__(
        self,
        module: nn.Module,
        encoder: nn.Module,
        layouts: GivenLayouts,
        *,
        encode: Callable[[Tensor], Any],
        logits: Callable[[Inputs, Tensor], Tensor],
    ) -> None:
        self.module, self.encoder, self.encode, self.logits = module, encoder, encode, logits
        self.tapped, self.named = layouts.tapped, layouts.named
        self.measured: dict[nn.Module, MeasuredLayer] = {}
        self._read: set[nn.Module] = set()

    def view(self, inputs: Inputs, layer: nn.Module, *, tapped: bool) -> AxesView | GridView:
        """How the output of `layer` becomes a grid.

        Raises ValueError, with layers that work, if it does not follow the photo, or has not the axes that were given.
        """
        self.measure(inputs, [layer])
        found, given = self.measured[layer], self.named.get(self._name(layer), self.tapped if tapped else None)
        if found.calls != 1:
            return GridView()  # the tap says how often it ran
        layouts = found.layouts if given is None else _as_given(given, found)
        if len(layouts) != 1 or "t" in layouts[0].axes:
            raise ValueError(self._refusal(inputs, layer, given))
        view = AxesView(layouts[0], rows_and_size(inputs.pixels)[1], _boxes(inputs) if layouts[0].has_regions else None)
        if "n" in view.layout.axes:
            self._require_cells(inputs, layer, view)
        return view

    def readable(self, inputs: Inputs, layers: Collection[nn.Module]) -> dict[nn.Module, LayerView]:
        """Views of those of `layers` that run once and give one tensor that follows the photo."""
        self.measure(inputs, layers)
        size = rows_and_size(inputs.pixels)[1]
        known = {layer: self.measured[layer] for layer in layers}
        return {
            layer: AxesView(found.layouts[0], size)
            for layer, found in known.items()
            if found.calls == 1 and len(found.layouts) == 1
        }

    def default(self, inputs: Inputs) -> nn.Module:
        """The last module of the encoder, in the order in which they finish, whose cells follow the photo and reach its output.

        Grids and tokens count; pooling that ends in vectors is passed over. Raises ValueError when there is none.
        """
        with unchanged_state(self.encoder):
            for layer, found in working_layers(self.encode, inputs.pixels[:1], list(self.encoder.modules())):
                self.measured[layer] = found
                return layer
        raise ValueError(
            f"no module of this {type(self.encoder).__name__} gives, once an image, a grid or tokens that follow the photo and "
            "that its output depends on: pass layer=, a module that does, and layout= if its axes cannot be measured"
        )

    def measure(self, inputs: Inputs, layers: Collection[nn.Module]) -> None:
        """Measure those `layers` that are not known yet, together, on the first image of `inputs`."""
        unknown = [layer for layer in layers if layer not in self.measured]
        if unknown:
            in_encoder = set(self.encoder.modules()).issuperset(unknown)
            self.measured |= measure_layers(self.encode if in_encoder else self._run_on(inputs), inputs.pixels[:1], unknown)

    def suggestions(self, inputs: Inputs) -> list[str]:
        """Names of up to three layers that a map can be made of, the last first: each was tried."""
        inside = [module for module in self.encoder.modules() if module is not self.module]
        found = working_layers(self._run_on(inputs), inputs.pixels[:1], inside)
        return [self._name(module) for module, _ in islice(found, 3)]

    def _require_cells(self, inputs: Inputs, layer: nn.Module, view: AxesView) -> None:
        """Raises ValueError, with layers that work, if behind `layer` only tokens without a place (CLS) are read."""
        if layer in self._read:
            return
        if not reaches_output(self._run_on(inputs), inputs.pixels[:1], layer, view):
            works = [repr(name) for name in self.suggestions(inputs)]
            advice = f"choose {', '.join(works)}" if works else "choose an earlier layer"
            raise ValueError(
                f"behind layer {self._name(layer)!r} no token that lies on the photo is read (only CLS, or none): {advice}"
            )
        self._read.add(layer)

    def _run_on(self, inputs: Inputs) -> Callable[[Tensor], Tensor]:
        """The whole model as a function of one image's pixels, with the first row's question."""
        question = None if inputs.question_ids is None else inputs.question_ids[:1]
        one = Inputs(inputs.pixels[:1], inputs.placements[:1], question, question_slice=inputs.question_slice)
        ids = torch.zeros(1, 1, dtype=torch.long, device=inputs.pixels.device)
        return lambda pixels: self.logits(replace(one, pixels=pixels), ids)

    def _name(self, layer: nn.Module) -> str:
        names: dict[nn.Module, str] = {module: name for name, module in self.module.named_modules()}
        return names[layer]

    def _refusal(self, inputs: Inputs, layer: nn.Module, given: LayerLayout | None) -> str:
        found = self.measured[layer]
        shapes = " and ".join(map(str, found.shapes.values()))
        what = f"shape {shapes}" if isinstance(found.form, Tensor) else f"{type(found.form).__name__} of {shapes or 'no tensors'}"
        if given is not None:
            said = "regions= asks for" if given.has_regions else "layout= says"
            return f"layer {self._name(layer)!r} gives {what}, expected {given.shape_words} once, as {said}"
        if len(found.layouts) > 1:
            single = ", ".join(map(repr, self.suggestions(inputs))) or "a layer that gives one of them"
            return f"layer {self._name(layer)!r} gives {what}, {len(found.layouts)} grids: expected one: choose {single}"
        what += ", expected a grid (b, c, h, w), (b, h, w, c) or tokens (b, n, c) that follow the photo"
        if not has_pictures(inputs.pixels):
            what += f" (its input {tuple(inputs.pixels.shape)} is no photo, which could be measured)"
        works = [repr(name) for name in self.suggestions(inputs)]
        advice = f"choose {', '.join(works)}" if works else "choose another layer"
        return f"layer {self._name(layer)!r} gives {what}: {advice}, or say by layout= what its axes are ({LAYOUT_CHOICES})"


def _boxes(inputs: Inputs) -> int | None:
    """How many boxes each photo has; None for inputs that are tried with no boxes."""
    return len(inputs.placements[0].boxes) or None


def _as_given(given: LayerLayout, found: MeasuredLayer) -> tuple[LayerLayout, ...]:
    """The layout that was given, for each tensor that has so many axes; boxes `(b, r, 4)` beside features are none of them."""
    shapes = {path: shape for path, shape in found.shapes.items() if len(shape) == len(given.axes)}
    if given.has_regions and len(shapes) > 1:
        shapes = {path: shape for path, shape in shapes.items() if shape[given.axes.index("c")] != 4}
    return tuple(replace(given, path=path) for path in shapes)
