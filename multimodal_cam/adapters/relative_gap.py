"""By how much two tensors differ that are to be the same: the measure of the trials of `check`. A leaf."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_gap(found: Tensor, expected: Tensor, rounding: float = 0.0) -> float:
    """As a share of the spread of what is expected; what is nearly the same everywhere has its size for a spread.

    `rounding` is by how much each number may differ.
    """
    found, expected = found.double(), expected.double()
    real = expected.isfinite() & found.isfinite()
    expected, found = torch.where(real, expected, 0), torch.where(real, found, 0)
    size = float(expected.norm())
    spread = float((expected - expected.mean()).norm()) if expected.numel() > 1 else size
    gap = ((found - expected).abs() - rounding).clamp(min=0).norm()
    return float(gap) / max(spread, 1e-3 * size, 1e-30)
