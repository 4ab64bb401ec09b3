"""Token sequences seen as grids: `(b, n, c)` with tokens that have no place in front -> `(b, c, h, w)`, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenView:
    """A layer that gives tokens in reading order, `(b, n, c)`, alone, first in a tuple or as `last_hidden_state`, or a grid.

    `prefix` tokens in front (CLS, registers) have no place. The grid is `shape` `(h, w)`, or, where that is None, the one with
    as many cells whose proportions are nearest to `ratio`, height by width. Activations are what it takes: `(b, n, c)`.
    """

    prefix: int = 0
    ratio: float = 1.0
    shape: tuple[int, int] | None = None

    def extract(self, output: Any) -> Tensor:
        tensor = first_tensor(output)
        if tensor is not None and tensor.ndim == 4:
            return tensor.flatten(2).transpose(1, 2)
        if tensor is None or tensor.ndim != 3:
            what = type(output).__name__ if tensor is None else f"shape {tuple(tensor.shape)}"
            raise ValueError(f"{what}, expected tokens (b, n, c) or a grid (b, c, h, w)")
        self._layout(tensor.shape[1])
        return tensor

    def inject(self, activations: Tensor, output: Any) -> Any:
        old = first_tensor(output)
        assert old is not None
        if old.ndim == 4:
            activations = activations.transpose(1, 2).reshape(len(activations), -1, *old.shape[2:])
        return with_first_tensor(output, activations)

    def cells(self, activations: Tensor) -> Tensor:
        prefix, shape = self._layout(activations.shape[-2])
        cells = activations[..., prefix:, :].transpose(-1, -2)
        return cells.reshape(*cells.shape[:-1], *shape)

    def to_image(self, maps: Tensor) -> Tensor:
        return maps

    def unplaced(self, activations: Tensor) -> Tensor | None:
        prefix, _ = self._layout(activations.shape[-2])
        return activations[..., :prefix, :] if prefix else None

    def _layout(self, n: int) -> tuple[int, tuple[int, int]]:
        """How many of `n` tokens have no place, and the grid of the others."""
        if self.shape is not None:
            placed = self.shape[0] * self.shape[1]
            if n not in (placed, placed + self.prefix):
                raise ValueError(f"{n} tokens, expected {placed + self.prefix} for a grid of {self.shape[0]} x {self.shape[1]}")
            return n - placed, self.shape
        choices = [(prefix, _nearest_rectangle(n - prefix, self.ratio)) for prefix in {self.prefix, 0} if n > prefix]
        prefix, shape = min(choices, key=lambda choice: (round(_aspect_error(choice[1], self.ratio), 2), -choice[0]))
        if _aspect_error(shape, self.ratio) > 0.5:
            raise ValueError(f"{n} tokens, which are no grid of the photo's proportions: choose a layer of the vision tower")
        return prefix, shape


@dataclass(frozen=True)
class OrderedTokenView(TokenView):
    """Tokens that a tower gives in an order of its own, with tiles or all photos in one dimension: `(b ..., c)`.

    `order` holds, for each token as it is seen here (those without a place, then the grid in reading order), where it stands
    among the `len(order)` tokens of its photo.
    """

    order: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))

    def extract(self, output: Any) -> Tensor:
        tensor, own = first_tensor(output), len(self.order)
        if tensor is None or tensor.ndim not in (2, 3) or tensor.shape[:-1].numel() % own:
            found = type(output).__name__ if tensor is None else f"shape {tuple(tensor.shape)}"
            raise ValueError(f"{found}, expected the {own} tokens of each photo")
        return tensor.reshape(-1, own, tensor.shape[-1])[:, self.order]

    def inject(self, activations: Tensor, output: Any) -> Any:
        old = first_tensor(output)
        assert old is not None
        return with_first_tensor(output, activations[:, self.order.argsort()].reshape(-1, *old.shape[1:]))


@dataclass(frozen=True)
class TiledTokenView(OrderedTokenView):
    """Tiles that are one grid `shape` over the image, and behind them the whole image once more, in a grid `thumbnail`.

    The cells are `(..., c, n, 1)`, those of the tiles first. `to_image` redistributes each thumbnail cell onto the tile cells
    that it covers, in shares of its area, so that maps add up to what they did. `frame` `(x0, y0, x1, y1)` is where the
    thumbnail lies on the grid of the tiles, 0 to 1 of its width and height.
    """

    thumbnail: tuple[int, int] = (1, 1)
    frame: tuple[float, float, float, float] = (0, 0, 1, 1)

    def cells(self, activations: Tensor) -> Tensor:
        return activations[..., self._unplaced(activations) :, :].transpose(-1, -2)[..., None]

    def unplaced(self, activations: Tensor) -> Tensor | None:
        prefix = self._unplaced(activations)
        return activations[..., :prefix, :] if prefix else None

    def to_image(self, maps: Tensor) -> Tensor:
        assert self.shape is not None
        (h, w), (x0, y0, x1, y1) = self.shape, self.frame
        tiles, thumbnail = maps[..., : h * w, 0], maps[..., h * w :, 0]
        down = overlap_shares(self.thumbnail[0], h, y0, y1).to(maps)
        across = overlap_shares(self.thumbnail[1], w, x0, x1).to(maps)
        handed: Tensor = down @ thumbnail.unflatten(-1, self.thumbnail) @ across.T  # type: ignore[no-untyped-call]
        return tiles.unflatten(-1, (h, w)) + handed  # type: ignore[no-untyped-call, no-any-return]

    def _unplaced(self, activations: Tensor) -> int:
        assert self.shape is not None
        return activations.shape[-2] - self.shape[0] * self.shape[1] - self.thumbnail[0] * self.thumbnail[1]


def overlap_shares(coarse: int, fine: int, start: float, stop: float) -> Tensor:
    """How much of each of `coarse` equal parts of `start..stop` lies in each of `fine` equal parts of 0..1, `(fine, coarse)`.

    Columns add up to 1: what lies outside belongs to the nearest part.
    """
    edges = (start + (stop - start) * torch.arange(coarse + 1, dtype=torch.float64) / coarse) * fine
    left, right = edges[:-1].clamp(0, fine), edges[1:].clamp(0, fine)
    cells = torch.arange(fine, dtype=torch.float64)[:, None]
    covered = (torch.minimum(right, cells + 1) - torch.maximum(left, cells)).clamp(min=0)
    outside = right - left <= 0
    nearest = cells == left.clamp(max=fine - 1).floor()
    covered = torch.where(outside, nearest.double(), covered)
    return covered / covered.sum(dim=0)


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that goes on from a layer: itself, the first of a tuple, or `last_hidden_state`."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)):
        return output[0] if output and isinstance(output[0], Tensor) else None
    state = getattr(output, "last_hidden_state", None)
    return state if isinstance(state, Tensor) else None


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """The same output with another tensor in that place."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, (tuple, list)):
        return type(output)([tensor, *output[1:]])
    return replace(output, last_hidden_state=tensor)


def _nearest_rectangle(cells: int, ratio: float) -> tuple[int, int]:
    """The `(h, w)` with just so many cells whose proportions are nearest to `ratio`."""
    sides = [h for h in range(1, cells + 1) if cells % h == 0]
    return min(((h, cells // h) for h in sides), key=lambda shape: _aspect_error(shape, ratio))


def _aspect_error(shape: tuple[int, int], ratio: float) -> float:
    return abs(math.log(shape[0] / shape[1] / ratio))
