"""Probe an unknown network: where the image goes in, which layers are grids, and on which of them the words depend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core.hooks import hooks_around
from ..head_extraction import PASSED_OVER
from .token_views import first_tensor
from .vision_tower import tower_blocks

EXTRA = 16  # tokens without a place (CLS, registers) that a tower may have beside its grid


def find_tower(ran: Sequence[ModuleCall], words: nn.Module) -> nn.Module:
    """The first and largest module that is given the photo and does not hold the embeddings of the `words`.

    Raises ValueError when there is none, or when it runs several times.
    """
    towers = [one.module for one in ran if one.sees_photo and all(part is not words for part in one.module.modules())]
    if not towers:
        raise ValueError(
            "no vision tower: no module without the words' embeddings is given pixel_values, or what is made of them"
        )
    calls = towers.count(towers[0])
    if calls > 1:
        raise ValueError(f"its vision tower, {type(towers[0]).__name__}, runs {calls} times on one photo (tiles?)")
    return towers[0]


def find_layer(tower: nn.Module, ran: Sequence[ModuleCall], score: Tensor, size: tuple[int, int]) -> tuple[nn.Module, GridLayout]:
    """The tower's last block, or else part, that gives a grid over pixels of that `size` on which the `score` depends.

    Raises ValueError when there is no grid, or none that counts.
    """
    parts = set(tower.modules())
    own = [one for one in ran if one.module in parts and one.output is not None and one.output.requires_grad]
    modules = [one.module for one in own]
    grids: list[tuple[nn.Module, Tensor, GridLayout]] = []
    for one in sorted(own, key=lambda one: one.ended):
        assert one.output is not None
        layout = GridLayout.of(one.output, size, grids[0][2].shape if grids else None)
        if layout is not None and modules.count(one.module) == 1 and not isinstance(one.module, PASSED_OVER):
            grids.append((one.module, one.output, layout))
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


def find_grid_start(look: Callable[[Tensor], Tensor], pixels: Tensor, layout: GridLayout) -> int:
    """How many tokens stand in front of the grid: cells of the photo are changed, and it is seen which tokens change most.

    `look` gives the layer's tokens `(n, c)`. Raises ValueError when these are not in reading order.
    """
    (h, w), (height, width) = layout.shape, pixels.shape[-2:]
    before, ranks = look(pixels), {start: 0 for start in (layout.extra, 0)}
    for i, j in {(0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1), (h // 2, w // 3)}:
        part = (..., slice(i * height // h, (i + 1) * height // h), slice(j * width // w, (j + 1) * width // w))
        other = pixels.clone()
        other[part] = -other[part]
        change = (look(other) - before).norm(dim=-1) / before.norm(dim=-1).clamp(min=1e-9)
        for start in ranks:
            ranks[start] = max(ranks[start], int((change > change[start + i * w + j]).sum()))
    start = min(ranks, key=ranks.__getitem__)
    if ranks[start] > h * w // 10:  # others may change, too, but few of them more
        raise ValueError(f"the {len(before)} tokens of its vision tower are not in reading order")
    return start


@dataclass
class ModuleCall:
    """One call of a module: whether it was given what comes of the photo, what it gave, and when it was done."""

    module: nn.Module
    sees_photo: bool
    output: Tensor | None = None
    ended: int = -1


def record_calls(root: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, list[ModuleCall]]:
    """The result of `run`, and the calls of `root` and its submodules in the order in which they begin."""
    ran: list[ModuleCall] = []
    waiting: list[ModuleCall] = []
    done = 0

    def begin(module: nn.Module, args: Any, options: dict[str, Any]) -> None:
        sees_photo = any(isinstance(value, Tensor) and value.requires_grad for value in (*args, *options.values()))
        ran.append(ModuleCall(module, sees_photo))
        waiting.append(ran[-1])

    def end(_module: nn.Module, _args: Any, output: Any) -> None:
        nonlocal done
        one, tensor = waiting.pop(), first_tensor(output)
        one.output, one.ended, done = tensor, done, done + 1

    with hooks_around(list(root.modules()), begin, end):
        return run(), ran


@contextmanager
def weights_without_gradients(module: nn.Module) -> Iterator[None]:
    """Inside, no weight requires a gradient: only what depends on the image does."""
    asking = [weight for weight in module.parameters() if weight.requires_grad]
    try:
        for weight in asking:
            weight.requires_grad = False
        yield
    finally:
        for weight in asking:
            weight.requires_grad = True


@dataclass(frozen=True)
class GridLayout:
    """Layout of a layer's output on the image: its grid, the number of tokens without a place, and whether it is of tokens."""

    shape: tuple[int, int]
    extra: int
    tokens: bool

    @classmethod
    def of(cls, output: Tensor, size: tuple[int, int], finest: tuple[int, int] | None) -> GridLayout | None:
        """None for what is no grid. `finest` is the grid of an earlier layer: tokens are as many, or a quarter, a 16th ..."""
        if output.ndim == 4 and len(output) == 1:
            h, w = output.shape[-2:]
            alike = abs(h * size[1] - w * size[0]) <= max(size)  # one row or column more by rounding
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
        """The grid of a photo of another size: cells are square, and what is left over is cut off, or filled up."""
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
        """Whether more than the tokens without a place have a gradient."""
        cells = slope.flatten(2)[0].T if slope.ndim == 4 else slope.reshape(-1, slope.shape[-1])
        return int(cells.any(dim=-1).sum()) > self.extra


def last_block(tower: nn.Module, used: Collection[nn.Module]) -> nn.Module | None:
    """The last of the tower's blocks that is used; None where it has no list of blocks, or uses none."""
    try:
        own = tower_blocks(tower)
    except ValueError:
        return None
    return next((block for block in reversed(own) if block in used), None)


def last_part(tower: nn.Module, used: Sequence[nn.Module]) -> nn.Module:
    """Down from the tower, always to the last used part, until that holds no more than half of the tower."""

    def size(module: nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    part, whole = tower, size(tower)
    while 2 * size(part) > whole or part not in used:
        inside = [module for module in used if module is not part and module in set(part.modules())]
        if not inside:
            break
        part = inside[-1]
    return part if part in used else used[-1]
