"""One map of the maps of several layers, on the finest of their grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..methods import MethodSpec
from .layer_layout import has_regions
from .token_maps import TokenMaps

Fusion = Literal["mean", "product"]


def spread_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps `(..., h, w)` interpolated bilinearly to `size` `(H, W)`; each cell's value is shared out, so that sums stay."""
    rows, columns = (_shares(old, new).to(maps) for old, new in zip(maps.shape[-2:], size, strict=True))
    return rows @ maps @ columns.T


def _shares(old: int, new: int) -> Tensor:
    """Shares `(new, old)` that each of `new` places on a line gets of each of `old` cells; those of a cell add up to 1."""
    weights = F.interpolate(torch.eye(old, dtype=torch.float64)[None], size=new, mode="linear", align_corners=False)[0].T
    return weights / weights.sum(dim=0)


def fuse_maps(maps: Sequence[Tensor], fusion: Fusion) -> Tensor:
    """The mean of maps `(..., h, w)` of several layers, or the geometric mean of their positive parts (`product`).

    The root of the product keeps the unit, and the order of the cells.
    """
    size = max(each.shape[-2] for each in maps), max(each.shape[-1] for each in maps)
    each = torch.stack([spread_maps(one, size) for one in maps])
    if fusion == "mean":
        return each.mean(dim=0)
    return (each.relu() ** (1 / len(each))).prod(dim=0)  # roots first: a product of tiny numbers would vanish


@dataclass(frozen=True)
class FusedSpans:
    """Maps of runs of tokens, fused of those of `parts`, one for each layer."""

    parts: tuple[TokenMaps, ...]
    fusion: Fusion

    def __call__(self, row: int, tokens: slice, method: MethodSpec, column: int) -> Tensor:
        return fuse_maps([part.span_map(row, tokens, method, column) for part in self.parts], self.fusion)


def fuse_layers(parts: Sequence[TokenMaps], names: Sequence[str], fusion: Fusion) -> TokenMaps:
    """Maps of all layers in one; scores and the rest are those of the first. Raises ValueError for a layer of regions."""
    for part, name in zip(parts, names, strict=True):
        if has_regions(part.view):
            raise ValueError(f"layer: expected layers with grids of cells, {name!r} gives regions: explain it alone")
    found = [part.maps for part in parts if part.maps is not None]
    if len(found) < len(parts) or fusion == "product":
        spans = FusedSpans(tuple(parts), fusion)
        return replace(parts[0], maps=None, gradients=None, changes=None, unplaced=None, steps=None, fused_spans=spans)
    unplaced = [torch.zeros_like(parts[0].scores[0]) if part.unplaced is None else part.unplaced for part in parts]
    known = any(part.unplaced is not None for part in parts)
    return replace(parts[0], maps=fuse_maps(found, fusion), unplaced=torch.stack(unplaced).mean(dim=0) if known else None)
