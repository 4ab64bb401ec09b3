"""From gradients to maps, chunk by chunk: gradients of many words are large, what a linear method makes of them is small."""

from __future__ import annotations

import torch
from torch import Tensor

from ..methods import MethodSpec
from ..methods.path import integrated_gradients
from .gradients import ProductLog, Reduction, wide
from .layer_view import LayerView


def map_reduction(view: LayerView, activations: Tensor, method: MethodSpec, log: ProductLog) -> Reduction:
    """Reduces gradients `(m, b, ...)` to a linear method's maps `(m, b, h, w)`."""
    at = view.cells(wide(activations))

    def reduce_gradients(gradients: Tensor) -> tuple[Tensor]:
        maps = torch.stack([method.maps(at, view.cells(token)) for token in gradients])
        log.check(gradients, maps)
        return (view.to_image(maps),)

    return reduce_gradients


def path_reduction(view: LayerView, activations: Tensor, baseline: Tensor, log: ProductLog) -> Reduction:
    """Reduces gradients `(m, b, ...)` to integrated gradients: maps `(m, b, h, w)` and, if there are any, unplaced sums `(m, b)`.

    Integrated gradients are linear in the gradients, so averaging what they are reduced to suffices.
    """
    at, start = wide(activations), wide(baseline)

    def reduce_gradients(gradients: Tensor) -> tuple[Tensor, ...]:
        maps = integrated_gradients(view.cells(at), view.cells(start), view.cells(gradients))
        log.check(gradients, maps)
        change, slopes = view.unplaced(at - start), view.unplaced(gradients)
        unplaced = () if change is None or slopes is None else ((change * slopes).sum(dim=(-2, -1)),)
        return (view.to_image(maps), *unplaced)

    return reduce_gradients
