"""KernelSHAP: Shapley values of the cells of a coarse grid, from a weighted least-squares fit to the scores of coalitions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .canvas import Canvas, require_cells


def kernel_shap(canvas: Canvas, options: Mapping[str, Any]) -> Tensor:
    """KernelSHAP, Lundberg and Lee, NeurIPS 2017, theorem 2: maps `(s, b, *cells)` that add up to `y(photo) - y(all removed)`.

    All coalitions of cells run if they are no more than `samples`, which gives the Shapley values themselves; else so many are
    drawn by the kernel's weights, each with its complement. Raises ValueError for too few samples to tell the cells apart.
    """
    rows, columns = options["cells"]
    require_cells(canvas, (rows, columns))
    features = rows * columns
    seen, weights = _coalitions(features, options["samples"], options["seed"])
    down, across = (torch.arange(side) * n // side for side, n in zip(canvas.size, (rows, columns), strict=True))
    cell_of = down[:, None] * columns + across
    seen = torch.cat([torch.zeros(1, features, dtype=torch.bool), seen])
    changes = torch.cat([changes for _, changes in canvas.changes(len(seen), lambda i: (~seen[i])[:, cell_of][:, None, None])])
    values = _fit(
        seen[1:].double(), weights, (changes - changes[:1])[1:].flatten(1).double().cpu(), -changes[0].flatten().double().cpu()
    )
    return values.to(canvas.scores).view(rows, columns, *canvas.scores.shape).permute(2, 3, 0, 1)


def _coalitions(features: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which cells are seen `(n, features)`, neither all nor none, and the weight of each coalition `(n,)`."""
    if 2**features - 2 <= samples:
        numbers = torch.arange(1, 2**features - 1)
        seen = (numbers[:, None] >> torch.arange(features) & 1).bool()
        sizes = seen.sum(dim=1).tolist()
        kernel = [(features - 1) / (math.comb(features, size) * size * (features - size)) for size in sizes]
        return seen, torch.tensor(kernel, dtype=torch.float64)
    if samples < 2 * features:
        raise ValueError(f"samples: expected {2 * features} or more for {features} cells, got {samples}")
    generator = torch.Generator().manual_seed(seed)
    every = torch.arange(1, features, dtype=torch.float64)
    drawn = torch.multinomial(1 / (every * (features - every)), -(-samples // 2), replacement=True, generator=generator) + 1
    ranks = torch.rand(len(drawn), features, generator=generator).argsort(dim=1)
    seen = ranks < drawn[:, None]
    return torch.cat([seen, ~seen])[:samples], torch.ones(samples, dtype=torch.float64)


def _fit(seen: Tensor, weights: Tensor, gains: Tensor, total: Tensor) -> Tensor:
    """Values `(features, k)` that add up to `total` `(k,)` and fit the `gains` `(n, k)` of coalitions over none best."""
    features = seen.shape[1]
    if features == 1:
        return total[None]
    weighted = seen.T * weights
    normal = weighted @ seen
    if int(torch.linalg.matrix_rank(normal, hermitian=True)) < features:
        raise ValueError(f"samples: {len(seen)} coalitions do not tell {features} cells apart: take more")
    free = torch.linalg.solve(normal, weighted @ gains)
    even = torch.linalg.solve(normal, torch.ones(features, 1, dtype=torch.float64))
    values: Tensor = free - even * (free.sum(dim=0) - total) / even.sum()
    return values
