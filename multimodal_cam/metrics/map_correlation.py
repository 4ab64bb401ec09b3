"""Spearman's rank correlation of maps, in -1..1; ties get their mean rank.

Protocol of "Human Attention in Visual Question Answering" (Das, Agrawal, Zitnick, Parikh, Batra, EMNLP 2016): the map and
the human's are brought to the same 14 x 14 cells, the cells are ranked, the ranks correlated, and the mean over questions is
reported. The Grad-CAM paper's 0.136 is measured so, on maps cut at 0 (`maps.clamp(min=0)`); a question that several people
looked at counts once for each.

The same function compares a map with the model's own attention, with another method's map, and with the map of another word.
A map that is the same everywhere ranks nothing: its correlation is NaN, and so it is of a map that holds NaN. Maps are of the
same part of the image: draw those of a cropped or padded image on the image first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]


def rank_correlation(a: Tensor, b: Tensor, size: Size | None = None) -> Tensor:
    """Spearman's correlation `(...)` of maps `a` `(..., h, w)` with maps `b` `(..., h', w')`; leading dimensions broadcast.

    Both are brought to `size` first, without it to the finer of the two grids (14 x 14 for a 7 x 7 map and VQA-HAT's).
    """
    a, b = to_common_grid([a, b], size)
    return (_scores(a) * _scores(b)).sum(dim=-1)


def correlation_matrix(maps: Tensor) -> Tensor:
    """Pairwise correlations `(k, k)` of `maps` `(k, h, w)`."""
    scores = _scores(maps)
    return scores @ scores.T


def to_common_grid(maps: Sequence[Tensor], size: Size | None = None) -> list[Tensor]:
    """Maps `(..., h, w)` of different grids, all on `size`, or on the finest of their grids; float64.

    Interpolated linearly; from a finer grid a cell is a weighted mean of all the cells around it.
    """
    rows, columns = size or (max(own.shape[-2] for own in maps), max(own.shape[-1] for own in maps))
    return [_resample(own.double(), (rows, columns)) for own in maps]


def ranks(values: Tensor) -> Tensor:
    """The ranks of the last dimension's numbers, 1 for the smallest; equal ones share the mean of their ranks. float64."""
    ordered = values.contiguous().sort(dim=-1).values
    below = torch.searchsorted(ordered, values.contiguous(), right=False)
    upto = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + upto + 1).double() / 2


def _scores(maps: Tensor) -> Tensor:
    """Maps `(..., h, w)` -> their cells' ranks, centred and of length 1 `(..., h w)`: their products are correlations."""
    cells = maps.flatten(-2)
    centred = ranks(cells) - (cells.shape[-1] + 1) / 2
    unknown = cells.isnan().any(dim=-1, keepdim=True)
    return torch.where(unknown, torch.nan, centred / centred.norm(dim=-1, keepdim=True))  # 0 / 0 for constant maps


def _resample(maps: Tensor, size: Size) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    lowest = maps.amin(dim=(-2, -1), keepdim=True)  # without it a map that is the same everywhere would not stay so exactly
    flat = (maps - lowest).reshape(-1, 1, *maps.shape[-2:])
    resized = F.interpolate(flat, size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.reshape(*maps.shape[:-2], *size) + lowest
