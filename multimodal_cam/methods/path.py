"""Evidence: integrated gradients at the tapped layer, from no photo to the photo.

Sundararajan, Taly, Yan, ICML 2017, eq. 1, with the layer's activations in the place of the input:

    evidence = sum_c (A - A0)_c * mean over s of (d score / d A)_c at A0 + s (A - A0)

By completeness (their proposition 1) the map's cells add up to `score(A) - score(A0)`, up to the error of the finite sum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def mean_gradients(
    gradients_at: Callable[[Tensor], tuple[Tensor, ...]],
    activations: Tensor,
    baseline: Tensor,
    *,
    n_steps: int,
    steps_at_once: Callable[[], int],
) -> tuple[Tensor, ...]:
    """The mean gradient along the straight path from `baseline` to `activations`, by the midpoint rule.

    `gradients_at` maps points `(n, b, ...)` of the path to tensors that are linear in the gradients, summed over the points.
    `steps_at_once` is asked before each call: the memory of a point may be known after the first.
    """
    return mean_over_points(gradients_at, path_points(activations, baseline, n_steps), n_steps, steps_at_once)


def path_points(end: Tensor, begin: Tensor, n_steps: int) -> Callable[[int, int], Tensor]:
    """Midpoints of `n_steps` pieces of the way from `begin` to `end`: points `(n, b, ...)` of their numbers `start` to `stop`."""
    steps = (torch.arange(n_steps, device=end.device, dtype=end.dtype) + 0.5) / n_steps
    change = end - begin
    return lambda start, stop: begin + steps[start:stop].view(-1, *[1] * change.ndim) * change


def mean_over_points(
    gradients_at: Callable[[Tensor], tuple[Tensor, ...]],
    points: Callable[[int, int], Tensor],
    count: int,
    points_at_once: Callable[[], int],
) -> tuple[Tensor, ...]:
    """The mean of what `gradients_at` sums over points, of all `count` points; `points(start, stop)` makes some of them."""
    total: tuple[Tensor, ...] = ()
    start = 0
    while start < count:
        stop = min(count, start + points_at_once())
        part = gradients_at(points(start, stop))
        total = tuple(map(torch.add, total, part)) if total else part
        start = stop
    return tuple(tensor / count for tensor in total)


def integrated_gradients(activations: Tensor, baseline: Tensor, gradients: Tensor) -> Tensor:
    """Maps `(..., b, h, w)` in the unit of the score, from mean gradients `(..., b, c, h, w)`."""
    return channel_integrated_gradients(activations, baseline, gradients).sum(dim=-3)


def channel_integrated_gradients(activations: Tensor, baseline: Tensor, gradients: Tensor) -> Tensor:
    """The same by channel, `(..., b, c, h, w)`."""
    return (activations - baseline) * gradients
