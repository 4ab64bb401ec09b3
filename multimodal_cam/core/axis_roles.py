"""Which axis of a layer's output is what, decided by how the output changes when strips of the photo do.

`Responses` hold, for each axis, how much energy the change of each strip leaves at each index. Strips that lie one below the
other move along the axis `h`, those side by side along `w`; channels answer to all strips alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .layer_layout import LayerLayout

FOLLOWS = 0.12  # correlation of index and strip from which an axis follows the photo
FEW = 4  # cells that may be a grid beside tokens without a place
SURE = 40  # cells whose agreement is never by chance
LINE = 0.75  # agreement of a line of few cells, of which `_agreement` is 0.8 at most
LOCATED = 0.55  # correlation of the tokens' measured and expected places
BY_CHANCE = 0.8  # as much of that may a few channels follow by chance
UNBALANCED = 0.3  # a grid that follows one direction follows the other, too, by more than this share
MAX_UNPLACED = 16  # tokens without a place (CLS, registers) on one side of the grid
OFF_SHAPE = 1.5  # |log| by which a grid's proportions may differ from the pixels'


@dataclass
class Responses:
    """Changes of one tensor: `energy[direction][axis]` `(size, strips)`; directions are `down`, `across` and `frames`."""

    shape: tuple[int, ...]
    energy: dict[str, list[Tensor]] = field(default_factory=dict)

    def follows(self, axis: int, direction: str) -> float:
        """Correlation of the index along `axis` with the strip that was changed: 1 if they move together, 0 if not at all."""
        if direction not in self.energy:
            return 0.0
        return _order_correlation(self.energy[direction][axis])

    def add(self, direction: str, change: Tensor) -> None:
        """Note the squared changes that one more strip of `direction` brings."""
        sums = [change.sum(dim=[other for other in range(change.ndim) if other != axis])[:, None] for axis in range(change.ndim)]
        before = self.energy.get(direction)
        self.energy[direction] = sums if before is None else [torch.cat(pair, dim=1) for pair in zip(before, sums, strict=True)]

    @property
    def undecided(self) -> bool:
        """Whether no axis follows the photo, so that sizes must decide: nothing changes, or everything does everywhere."""
        strength = [abs(self.follows(axis, way)) for axis in range(len(self.shape)) for way in ("down", "across")]
        return not self.moves or max(strength) < 2 * FOLLOWS

    @property
    def moves(self) -> bool:
        """Whether anything changed at all, in finite numbers."""
        total = sum(float(axes[0].sum()) for axes in self.energy.values())
        return math.isfinite(total) and total > 0


def find_layout(responses: Responses, rows: int, pixel_size: tuple[int, int]) -> LayerLayout | None:
    """The layout of a tensor of `rows` images of `pixel_size`; None if its axes do not follow the photo."""
    batch = _batch_axis(responses.shape, rows)
    if batch is None or not responses.moves:
        return None
    others = [axis for axis in range(len(responses.shape)) if axis != batch]
    if len(others) == 2:
        return _token_layout(responses, batch, others, pixel_size)
    if len(others) == 3:
        return _grid_layout(responses, batch, others)
    return _frame_layout(responses, batch, others) if len(others) == 4 else None


def layout_by_size(shape: tuple[int, ...], rows: int, pixel_size: tuple[int, int]) -> LayerLayout | None:
    """The one reading of four axes, `bchw` or `bhwc`, in which the grid has the photo's proportions; None if both or none has."""
    if len(shape) != 4 or shape[0] != rows:
        return None
    height, width = pixel_size
    fitting = [
        axes
        for axes in ("bchw", "bhwc")
        for h, w in [(shape[axes.index("h")], shape[axes.index("w")])]
        if h * w > 1 and 2 * h <= height and abs(h * width - w * height) <= max(height, width)  # one cell more by rounding
    ]
    return LayerLayout(fitting[0]) if len(fitting) == 1 else None


def _batch_axis(shape: tuple[int, ...], rows: int) -> int | None:
    return next((axis for axis, size in enumerate(shape) if size == rows), None) if rows != shape[0] else 0


def _letters(ndim: int, axes: Mapping[str, int]) -> str:
    by_axis = {axis: letter for letter, axis in axes.items()}
    return "".join(by_axis[axis] for axis in range(ndim))


def _grid_axes(responses: Responses, axes: list[int]) -> tuple[int, int] | None:
    """The axes that follow the photo down and across; one of size 1 stands for a direction in which the grid has one cell."""
    down = {axis: abs(responses.follows(axis, "down")) for axis in axes}  # a grid may be upside down
    across = {axis: abs(responses.follows(axis, "across")) for axis in axes}
    h, w = max(down, key=lambda axis: down[axis]), max(across, key=lambda axis: across[axis])
    single = [axis for axis in axes if responses.shape[axis] == 1]
    if down[h] < FOLLOWS and across[w] > LOCATED and len(single) == 1:
        h = single[0]
    elif across[w] < FOLLOWS and down[h] > LOCATED and len(single) == 1:
        w = single[0]
    elif min(down[h], across[w]) < max(FOLLOWS, UNBALANCED * max(down[h], across[w])):
        return None
    if h == w or down[w] > max(FOLLOWS, down[h] / 2) or across[h] > max(FOLLOWS, across[w] / 2):
        return None  # an attention matrix follows one direction along both of its axes
    limit = FOLLOWS if single and (h in single or w in single) else BY_CHANCE
    rest = [axis for axis in axes if axis not in (h, w)]
    clear = all(down[axis] <= max(FOLLOWS, limit * down[h]) and across[axis] <= max(FOLLOWS, limit * across[w]) for axis in rest)
    return (h, w) if clear else None


def _grid_layout(responses: Responses, batch: int, axes: list[int]) -> LayerLayout | None:
    found = _grid_axes(responses, axes)
    if found is None:
        return None
    h, w = found
    (c,) = set(axes) - {h, w}
    mirrored = [letter for letter, axis, way in (("h", h, "down"), ("w", w, "across")) if responses.follows(axis, way) < 0]
    return LayerLayout(_letters(4, {"b": batch, "c": c, "h": h, "w": w}), mirrored="".join(mirrored))


def _frame_layout(responses: Responses, batch: int, axes: list[int]) -> LayerLayout | None:
    found = _grid_axes(responses, axes)
    if found is None:
        return None
    h, w = found
    rest = sorted(set(axes) - {h, w}, key=lambda axis: responses.follows(axis, "frames"))
    if responses.follows(rest[-1], "frames") < FOLLOWS:
        single = [axis for axis in rest if responses.shape[axis] == 1]
        if len(single) != 1:
            return None
        rest = [axis for axis in rest if axis not in single] + single
    c, t = rest
    return LayerLayout(_letters(5, {"b": batch, "c": c, "t": t, "h": h, "w": w}))


def _token_layout(responses: Responses, batch: int, axes: list[int], pixel_size: tuple[int, int]) -> LayerLayout | None:
    """Tokens, if one axis follows the photo and its tokens have places that make a grid."""
    strength = {axis: max(responses.follows(axis, "down"), responses.follows(axis, "across")) for axis in axes}
    c, n = sorted(axes, key=lambda axis: strength[axis])
    if strength[n] < FOLLOWS or strength[c] > max(FOLLOWS, BY_CHANCE * strength[n]):
        return None
    y, x = (_places(responses.energy[direction][n]) for direction in ("down", "across"))
    best, best_score = None, LOCATED
    for prefix, suffix, grid, by_columns in _token_grids(responses.shape[n], pixel_size[0] / pixel_size[1]):
        placed = slice(prefix, responses.shape[n] - suffix)
        score = _agreement(y[placed], x[placed], grid, by_columns)
        if score < _by_chance(grid, prefix + suffix):
            continue
        score -= 0.005 * (prefix + suffix) + 0.02 * abs(math.log(grid[0] / grid[1] / (pixel_size[0] / pixel_size[1])))
        if score > best_score:
            best_score = score
            best = LayerLayout(
                _letters(3, {"b": batch, "n": n, "c": c}), prefix, suffix, grid, by_columns=by_columns, pixel_size=pixel_size
            )
    return best


def _by_chance(grid: tuple[int, int], unplaced: int) -> float:
    """The agreement that few cells may have by chance: some of the boxes of a network that reads regions lie like a grid."""
    cells = grid[0] * grid[1]
    if unplaced and cells < FEW:
        return math.inf
    return min(1 - cells / SURE, LINE if min(grid) == 1 and not unplaced else 1) if cells > 2 else LOCATED


def _token_grids(n: int, ratio: float) -> Iterator[tuple[int, int, tuple[int, int], bool]]:
    """Prefix, suffix, grid and order that `n` tokens may have."""
    ends = [(prefix, 0) for prefix in range(MAX_UNPLACED + 1)] + [
        (prefix, suffix) for prefix in (0, 1) for suffix in range(1, MAX_UNPLACED + 1)
    ]
    for prefix, suffix in ends:
        cells = n - prefix - suffix
        if cells < 2:
            continue
        for h in range(1, cells + 1):
            grid = h, cells // h
            if cells % h == 0 and (min(grid) == 1 or abs(math.log(h / grid[1] / ratio)) < OFF_SHAPE):
                yield prefix, suffix, grid, False
                if min(grid) > 1:
                    yield prefix, suffix, grid, True


def _places(energy: Tensor) -> Tensor:
    """The mean strip that each index answers to, beyond what it answers to all of them; NaN for one that answers to none."""
    local = energy - energy.min(dim=1, keepdim=True).values
    return (local * torch.arange(energy.shape[1]).to(local)).sum(dim=1) / local.sum(dim=1)


def _agreement(y: Tensor, x: Tensor, grid: tuple[int, int], by_columns: bool) -> float:
    """Correlation of the tokens' places with those of a grid, down and across."""
    h, w = grid
    rows = torch.arange(h).to(y).repeat_interleave(w)
    columns = torch.arange(w).to(y).repeat(h)
    if by_columns:
        rows, columns = torch.arange(h).to(y).repeat(w), torch.arange(w).to(y).repeat_interleave(h)
    found = [_correlation(place, expected) for place, expected, size in ((y, rows, h), (x, columns, w)) if size > 1]
    return sum(found) / 2 if len(found) == 2 else found[0] - 0.2  # a line of tokens is the last that is believed


def _correlation(x: Tensor, y: Tensor) -> float:
    known = x.isfinite()
    if int(known.sum()) < max(2, len(x) // 4):  # ReLUs leave some tokens without an answer
        return 0.0
    a, b = x[known] - x[known].mean(), y[known] - y[known].mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12))


def _order_correlation(energy: Tensor) -> float:
    """Correlation of index and strip under the joint distribution that each strip's energy `(size, strips)` makes."""
    total = energy.sum(dim=0)
    strips = torch.arange(energy.shape[1])[total > 0]
    if energy.shape[0] == 1 or len(strips) < 2:
        return 0.0
    joint = energy[:, strips] / total[strips] / len(strips)
    x, y = torch.arange(energy.shape[0]).to(joint), strips.to(joint)
    x, y = x - (joint.sum(dim=1) * x).sum(), y - y.mean()
    spread = ((joint.sum(dim=1) * x**2).sum() * (joint.sum(dim=0) * y**2).sum()).sqrt()
    return float((joint * x[:, None] * y).sum() / spread.clamp(min=1e-12))
