"""Linear imputation of removed pixels, as in ROAD; the noise is added by the caller."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse  # type: ignore[import-untyped]
from scipy.sparse import linalg  # type: ignore[import-untyped]
from torch import Tensor

_NEIGHBOURS = [(dy, dx, 1 / 12 if dy and dx else 1 / 6) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def impute(canvas: Tensor, missing: Tensor) -> Tensor:
    """The canvas `(c, H, W)` with its `missing` places `(H, W)`, bool, filled in from the others.

    Each missing value is the weighted mean of its eight neighbours, 1/6 for those beside it and 1/12 for those across a corner,
    missing ones included; at the edges of those that exist (ROAD, Rong et al., ICML 2022): one sparse linear system. Raises
    ValueError when nothing is left.
    """
    hole = missing.cpu().numpy()
    if hole.all():
        raise ValueError("all places are missing: nothing is left to fill them in from")
    values = canvas.detach().cpu().double().numpy()
    ys, xs = np.nonzero(hole)
    number = np.zeros(hole.shape, dtype=np.int64)
    number[ys, xs] = own = np.arange(len(ys))
    weights, known = np.zeros(len(ys)), np.zeros((len(ys), len(values)))
    entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for dy, dx, weight in _NEIGHBOURS:
        y, x = ys + dy, xs + dx
        exists = (y >= 0) & (y < hole.shape[0]) & (x >= 0) & (x < hole.shape[1])
        y, x, equation = y[exists], x[exists], own[exists]
        weights[equation] += weight
        unknown = hole[y, x]
        entries.append((np.full(unknown.sum(), -weight), equation[unknown], number[y[unknown], x[unknown]]))
        known[equation[~unknown]] += weight * values[:, y[~unknown], x[~unknown]].T
    entries.append((weights, own, own))
    data, row, column = (np.concatenate(part) for part in zip(*entries, strict=True))
    system = sparse.csc_matrix((data, (row, column)), shape=(len(own), len(own)))
    # symmetric and diagonally dominant: no pivoting, and an ordering for symmetric matrices
    solver = linalg.splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    values[:, ys, xs] = solver.solve(known).T
    return torch.from_numpy(values).to(canvas)
