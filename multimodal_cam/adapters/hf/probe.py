"""Probe an unknown network: find its vision tower, the layers that are grids, and the one that the words depend on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core.hooks import hooks_around
from ..layer_search import PASSED_OVER
from .token_views import first_tensor
from .vision_tower import tower_blocks

EXTRA = 16  # most tokens without a place (CLS, registers) beside a tower's grid


def find_tower(calls: Sequence[ModuleCall], embeddings: nn.Module) -> nn.Module:
    """The outermost module that is called with the image, or what is made of it, and does not hold the words' `embeddings`.

    Raises ValueError where there is none, or where it is called several times.
    """
    towers = [call.module for call in calls if call.sees_photo and all(part is not embeddings for part in call.module.modules())]
    if not towers:
        raise ValueError(
            "no vision tower: no module without the words' embeddings is given pixel_values, or what is made of them"
        )
    times = towers.count(towers[0])
    if times > 1:
        raise ValueError(f"its vision tower, {type(towers[0]).__name__}, runs {times} times on one photo (tiles?)")
    return towers[0]


def find_layer(
    tower: nn.Module, calls: Sequence[ModuleCall], score: Tensor, size: tuple[int, int]
) -> tuple[nn.Module, GridLayout]:
    """The tower's last block, else its last part, whose output is a grid over pixels of `size` and has a gradient of `score`.

    Raises ValueError where no output is a grid, or none has a gradient.
    """
    parts = set(tower.modules())
    own = [call for call in calls if call.module in parts and call.output is not None and call.output.requires_grad]
    modules = [call.module for call in own]
    grids: list[tuple[nn.Module, Tensor, GridLayout]] = []
    for call in sorted(own, key=lambda call: call.ended):
        assert call.output is not None
        layout = GridLayout.of(call.output, size, grids[0][2].shape if grids else None)
        if layout is not None and modules.count(call.module) == 1 and not isinstance(call.module, PASSED_OVER):
            grids.append((call.module, call.output, layout))
    if not grids:
        raise ValueError(
            f"no layer of its vision tower, {type(tower).__name__}, gives a grid (1, c, h, w), or the tokens (1, n, c) of one, "
            f"for pixels {size[0]} x {size[1]}"
        )
    outputs = [output for _, output, _ in grids]
    slopes = torch.autograd.grad(score, outputs, allow_unused=True) if score.requires_grad else [None] * len(outputs)
    used = {
        module: layout
        for (module, _, layout), slope in zip(grids, slopes, strict=True)
        if slope is not None and layout.has_gradient(slope)
    }
    if not used:
        names = f"from {type(grids[0][0]).__name__} to {type(grids[-1][0]).__name__}"
        raise ValueError(
            f"its words depend on none of the {len(grids)} grids of its vision tower, {names}: all gradients are zero"
        )
    layer = last_block(tower, used) or last_part(tower, list(used))
    return layer, used[layer]


def find_grid_start(tokens_of: Callable[[Tensor], Tensor], pixels: Tensor, layout: GridLayout) -> int:
    """Number of tokens in front of the grid: where five cells of the image are negated, their own tokens change most.

    `tokens_of` runs the layer: pixels `(1, ..., H, W)` to its tokens `(n, c)`. Raises ValueError where these are not in reading
    order.
    """
    (h, w), (height, width) = layout.shape, pixels.shape[-2:]
    before, ranks = tokens_of(pixels), {start: 0 for start in (layout.extra, 0)}
    for i, j in {(0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1), (h // 2, w // 3)}:
        part = (..., slice(i * height // h, (i + 1) * height // h), slice(j * width // w, (j + 1) * width // w))
        other = pixels.clone()
        other[part] = -other[part]
        change = (tokens_of(other) - before).norm(dim=-1) / before.norm(dim=-1).clamp(min=1e-9)
        for start in ranks:
            ranks[start] = max(ranks[start], int((change > change[start + i * w + j]).sum()))
    start = min(ranks, key=ranks.__getitem__)
    if ranks[start] > h * w // 10:  # attention changes other tokens too, but few of them more
        raise ValueError(f"the {len(before)} tokens of its vision tower are not in reading order")
    return start


@dataclass
class ModuleCall:
    """One call of a module: whether its arguments depend on the image, its output tensor, and its rank among calls that ended."""

    module: nn.Module
    sees_photo: bool
    output: Tensor | None = None
    ended: int = -1


def record_calls(root: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, list[ModuleCall]]:
    """Result of `run`, and the calls of `root` and its submodules in the order in which they began."""
    calls: list[ModuleCall] = []
    open_calls: list[ModuleCall] = []
    done = 0

    def begin(module: nn.Module, args: Any, options: dict[str, Any]) -> None:
        sees_photo = any(isinstance(value, Tensor) and value.requires_grad for value in (*args, *options.values()))
        calls.append(ModuleCall(module, sees_photo))
        open_calls.append(calls[-1])

    def end(_module: nn.Module, _args: Any, output: Any) -> None:
        nonlocal done
        call = open_calls.pop()
        call.output, call.ended, done = first_tensor(output), done, done + 1

    with hooks_around(list(root.modules()), begin, end):
        return run(), calls


@contextmanager
def weights_without_gradients(module: nn.Module) -> Iterator[None]:
    """Switch off the weights' gradients, so that tensors require one only if they depend on the image; restored on exit."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    try:
        for weight in weights:
            weight.requires_grad = False
        yield
    finally:
        for weight in weights:
            weight.requires_grad = True


@dataclass(frozen=True)
class GridLayout:
    """Layout of a layer's output: grid `shape`, number of `extra` tokens without a place, whether it is `tokens` (b, n, c)."""

    shape: tuple[int, int]
    extra: int
    tokens: bool

    @classmethod
    def of(cls, output: Tensor, size: tuple[int, int], finest: tuple[int, int] | None) -> GridLayout | None:
        """Layout of `output` over pixels of `size`; None for no grid.

        Tokens have as many cells as an earlier layer's grid `finest`, or a quarter, a sixteenth of them, and so on.
        """
        if output.ndim == 4 and len(output) == 1:
            h, w = output.shape[-2:]
            alike = abs(h * size[1] - w * size[0]) <= max(size)  # rounding may add a row or a column
            return cls((h, w), 0, False) if alike and 1 < h * w < size[0] * size[1] else None
        if output.ndim not in (2, 3) or output.shape[:-1].numel() != output.shape[-2]:
            return None
        n = output.shape[-2]
        if finest is None:
            h = max(1, round((n * size[0] / size[1]) ** 0.5))
            w = n // h
            alike = n == h * w > 3 and abs(h * size[1] - w * size[0]) <= max(size)
            return cls((h, w), 0, True) if alike else None
        while min(finest) > 1:
            if 0 <= n - finest[0] * finest[1] <= EXTRA:
                return cls(finest, n - finest[0] * finest[1], True)
            finest = finest[0] // 2, finest[1] // 2
        return None

    def at_size(self, then: tuple[int, int], now: tuple[int, int]) -> tuple[int, int]:
        """Grid of an image of size `now`, where that of `then` has `shape`; cells are square, remainders cut off or padded."""
        if now == then:
            return self.shape
        for cell in range(max(then), 0, -1):
            if (then[0] // cell, then[1] // cell) == self.shape:
                return now[0] // cell, now[1] // cell
        for cell in range(1, max(then)):
            if (-(-then[0] // cell), -(-then[1] // cell)) == self.shape:
                return -(-now[0] // cell), -(-now[1] // cell)
        return self.shape

    def has_gradient(self, slope: Tensor) -> bool:
        """Whether the gradient `slope` reaches cells, not the tokens without a place alone."""
        cells = slope.flatten(2)[0].T if slope.ndim == 4 else slope.reshape(-1, slope.shape[-1])
        return int(cells.any(dim=-1).sum()) > self.extra


def last_block(tower: nn.Module, used: Collection[nn.Module]) -> nn.Module | None:
    """The last of the tower's blocks that is in `used`; None where no block is, or the tower has no list of blocks."""
    try:
        own = tower_blocks(tower)
    except ValueError:
        return None
    return next((block for block in reversed(own) if block in used), None)


def last_part(tower: nn.Module, used: Sequence[nn.Module]) -> nn.Module:
    """Descend from the tower, always to the last used part, until that holds at most half of the tower's weights."""

    def size(module: nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    part, whole = tower, size(tower)
    while 2 * size(part) > whole or part not in used:
        inside = [module for module in used if module is not part and module in set(part.modules())]
        if not inside:
            break
        part = inside[-1]
    return part if part in used else used[-1]
