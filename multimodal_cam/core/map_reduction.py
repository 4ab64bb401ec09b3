"""From gradients to the cells of maps, chunk by chunk.

Gradients of many words are large. What a linear method makes of a chunk of them `(m, b, ...)` is small: one number for each cell
of the drawn map and one for what has no place, concatenated as `(m, b, h w + 1)`; these add up over chunks and points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..methods import MethodSpec
from ..methods.path import integrated_gradients
from .gradients import ProductLog, Reduction, wide
from .layer_view import LayerView


def map_reduction(view: LayerView, activations: Tensor, method: MethodSpec, log: ProductLog) -> Reduction:
    """Reduces gradients to the cells of a linear method's maps."""
    at = view.cells(wide(activations))

    def reduce_gradients(gradients: Tensor) -> Tensor:
        maps = torch.stack([method.maps(at, view.cells(token)) for token in gradients])
        log.check(gradients, maps)
        return _join_cells(view.to_image(maps), None)

    return reduce_gradients


def path_reduction(view: LayerView, activations: Tensor, baseline: Tensor, log: ProductLog) -> Reduction:
    """Reduces gradients to the cells of integrated gradients; these are linear in the gradients, so averaging them suffices."""
    at, start = wide(activations), wide(baseline)

    def reduce_gradients(gradients: Tensor) -> Tensor:
        maps = integrated_gradients(view.cells(at), view.cells(start), view.cells(gradients))
        log.check(gradients, maps)
        change, slopes = view.unplaced(at - start), view.unplaced(gradients)
        unplaced = None if change is None or slopes is None else (change * slopes).sum(dim=(-2, -1))
        return _join_cells(view.to_image(maps), unplaced)

    return reduce_gradients


def _join_cells(maps: Tensor, unplaced: Tensor | None) -> Tensor:
    """Maps `(..., h, w)` and unplaced sums `(...)` -> `(..., h w + 1)`."""
    unplaced = maps.new_zeros(maps.shape[:-2]) if unplaced is None else unplaced
    return torch.cat([maps.flatten(-2), unplaced[..., None]], dim=-1)


def split_cells(view: LayerView, cells: Tensor, activations: Tensor) -> tuple[Tensor, Tensor]:
    """`(a, t, b, h w + 1)` -> token maps `(a, t, b, h, w)` and the unplaced sums of the tokens' own scores `(b, t)`."""
    h, w = view.to_image(view.cells(activations)[:, 0]).shape[-2:]
    maps: Tensor = cells[..., :-1].unflatten(-1, (h, w))  # type: ignore[no-untyped-call]
    return maps, cells[0, ..., -1].T
