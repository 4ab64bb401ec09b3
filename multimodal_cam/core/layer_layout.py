"""Layouts of a layer's output: which axis is what, which tokens lie on the image, and the view that follows from it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .output_parts import Path, part_at, with_part

# what `layout=` takes beside axis letters
LAYOUT_NAMES = {"channels_first": "bchw", "channels_last": "bhwc", "tokens": "bnc", "regions": "brc"}
LAYOUT_CHOICES = (
    f"{', '.join(LAYOUT_NAMES)}, or the axes as letters: b rows, c channels, h and w the grid, n tokens, r regions, t frames "
    "(bchw, bhwc, bnc, b1+nc with one token in front of the grid, nbc, brc, bcthw)"
)
AXIS_SETS = ("bchw", "bcn", "bcr", "bchtw")  # sorted letters of what can be read


@dataclass(frozen=True)
class LayerLayout:
    """What each axis of a layer's output counts.

    Attributes:
        axes: A letter for each axis: `b` rows, `c` channels, `h` and `w` rows and columns of the grid, `n` tokens, `r` regions,
            `t` frames.
        prefix, suffix: Tokens in front of and behind the grid, without a place (CLS, registers); None: as many in front as
            leave a grid of the photo's proportions.
        grid: Rows and columns of the grid of tokens at `pixel_size`; None: the rectangle of the photo's proportions.
        by_columns: Whether tokens run down the columns of the grid first.
        pixel_size: Height and width of the pixels that `grid` was measured at.
        mirrored: Letters of the axes of a grid that run against the photo, upwards or to the left.
        path: Where in the output the tensor stands.
    """

    axes: str
    prefix: int | None = None
    suffix: int = 0
    grid: tuple[int, int] | None = None
    by_columns: bool = False
    pixel_size: tuple[int, int] | None = None
    mirrored: str = ""
    path: Path = ()

    @property
    def shape_words(self) -> str:
        """The axes as people write a shape: `(b, h, w, c)`."""
        return f"({', '.join(self.axes)})"

    @property
    def has_regions(self) -> bool:
        """Whether the layer's cells are regions, which lie on the photo as boxes and in no grid."""
        return "r" in self.axes


def parse_layout(layout: str) -> LayerLayout:
    """A layout from its name or its letters. Raises ValueError, with the choices, for anything else."""
    match = re.fullmatch(r"([a-z]*?)(?:(\d+)\+)?([a-z]+)", LAYOUT_NAMES.get(layout, layout).replace(" ", ""))
    if match is not None:
        before, prefix, after = match.groups()
        axes = before + after
        if "".join(sorted(axes)) in AXIS_SETS and (prefix is None or after.startswith("n")):
            return LayerLayout(axes, prefix=None if prefix is None else int(prefix))
    raise ValueError(f"unknown layout {layout!r}; choose from {LAYOUT_CHOICES}")


@dataclass(frozen=True)
class AxesView:
    """The view of a layer by its layout, for pixels of `pixel_size`; activations have the rows in front, `(b, ...)`.

    A grid is `(..., c, h, w)`, frames lie below each other, `(..., c, t h, w)`, regions are `(..., c, r, 1)`: `regions` of them,
    where it is known how many boxes there are.
    """

    layout: LayerLayout
    pixel_size: tuple[int, int]
    regions: int | None = None

    def extract(self, output: Any) -> Tensor:
        axes, found = self.layout.axes, part_at(output, self.layout.path)
        if not isinstance(found, Tensor) or found.ndim != len(axes):
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"{what}, expected {self.layout.shape_words}")
        if "n" in axes:
            self._grid(found.shape[axes.index("n")])
        if self.regions is not None and found.shape[axes.index("r")] != self.regions:
            count = found.shape[axes.index("r")]
            raise ValueError(
                f"shape {tuple(found.shape)}, {count} regions, and regions= gives {self.regions} boxes of this photo"
            )
        return found.movedim(axes.index("b"), 0)

    def inject(self, activations: Tensor, output: Any) -> Any:
        return with_part(output, self.layout.path, activations.movedim(0, self.layout.axes.index("b")))

    @property
    def is_output(self) -> bool:
        """Whether the activations are the layer's output as it is: a tensor with the rows in front."""
        return self.layout.path == () and self.layout.axes.startswith("b")

    def cells(self, activations: Tensor) -> Tensor:
        axes = self.layout.axes.replace("b", "")
        order = next(order for order in ("cthw", "chw", "cn", "cr") if set(order) == set(axes))
        moved = activations.movedim([axes.index(axis) - len(axes) for axis in order], [*range(-len(axes), 0)])
        if order == "cr":
            return moved[..., None]
        if order == "cthw":
            return moved.flatten(-3, -2)
        if order == "cn":
            return self._placed(moved)
        return moved.flip([{"h": -2, "w": -1}[axis] for axis in self.layout.mirrored])

    def _placed(self, tokens: Tensor) -> Tensor:
        """Tokens `(..., c, n)` -> cells `(..., c, h, w)`."""
        prefix, (h, w) = self._grid(tokens.shape[-1])
        cells = tokens[..., prefix : prefix + h * w]
        if self.layout.by_columns:
            return cells.reshape(*cells.shape[:-1], w, h).transpose(-1, -2)
        return cells.reshape(*cells.shape[:-1], h, w)

    def to_image(self, maps: Tensor) -> Tensor:
        return maps

    def unplaced(self, activations: Tensor) -> Tensor | None:
        axes = self.layout.axes.replace("b", "")
        if "n" not in axes:
            return None
        tokens = activations if axes == "nc" else activations.transpose(-1, -2)
        prefix, (h, w) = self._grid(tokens.shape[-2])
        if tokens.shape[-2] == h * w:
            return None
        placed = range(prefix, prefix + h * w)
        return tokens[..., [i for i in range(tokens.shape[-2]) if i not in placed], :]

    def _grid(self, n: int) -> tuple[int, tuple[int, int]]:
        """The tokens in front of the grid, and the grid. Raises ValueError if `n` tokens are none."""
        layout, ratio = self.layout, self.pixel_size[0] / self.pixel_size[1]
        if layout.grid is not None and layout.pixel_size == self.pixel_size:
            prefix, grid = layout.prefix or 0, layout.grid
            if n != prefix + grid[0] * grid[1] + layout.suffix:
                raise ValueError(f"{n} tokens, expected {prefix} in front of a grid of {grid[0]} x {grid[1]}")
            return prefix, grid
        prefixes = range(17) if layout.prefix is None else [layout.prefix]
        choices = [(p, _nearest_rectangle(n - p - layout.suffix, ratio)) for p in prefixes if n - p - layout.suffix > 0]
        near = [choice for choice in choices if _aspect_error(choice[1], ratio) < 0.25]
        if not near:
            raise ValueError(f"{n} tokens, which are no grid of the photo's proportions: pass layout=, such as b1+nc")
        return near[0]


def has_regions(view: object) -> bool:
    """Whether a layer is seen through a view of regions, whose maps lie in boxes."""
    return isinstance(view, AxesView) and view.layout.has_regions


def _nearest_rectangle(cells: int, ratio: float) -> tuple[int, int]:
    """The `(h, w)` with just so many cells whose proportions are nearest to `ratio`."""
    sides = [h for h in range(1, cells + 1) if cells % h == 0]
    return min(((h, cells // h) for h in sides), key=lambda shape: _aspect_error(shape, ratio))


def _aspect_error(shape: tuple[int, int], ratio: float) -> float:
    return abs(math.log(shape[0] / shape[1] / ratio))
