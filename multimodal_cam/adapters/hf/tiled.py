"""Photos cut into tiles, and seen once more as a whole, small: what the families that do so share."""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from . import placing
from .grids import Fused, Ordered, Tokens
from .prompted import Prompted

Frame = tuple[float, float, float, float]


class Tiled(Prompted):
    """The tiles' cells are one grid over the photo; the whole's cells lie on the photo, too, and are handed on to that grid.

    A family says with `_uncoloured` what the tiles show, put together, and with `_whole` what the whole shows.
    """

    grids_differ = True

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._frames: dict[tuple[int, int], Frame] = {}

    def _whole(self, image: Image) -> Tensor:
        """What the tower sees of a photo at once, `(3, H, W)` in 0..255."""
        raise NotImplementedError

    def frame(self, width: int, height: int) -> Frame:
        """Where the whole lies on the grid of the tiles, 0 to 1 of its width and height."""
        if (width, height) not in self._frames:
            x0, y0, x1, y1 = placing.measure(width, height, self._whole).frame
            left, top, right, bottom = self.placement(width, height).frame
            across, down = right - left, bottom - top
            self._frames[width, height] = (x0 - left) / across, (y0 - top) / down, (x1 - left) / across, (y1 - top) / down
        return self._frames[width, height]


def fused(tiles: Tensor, whole: Tensor | None, frame: Frame = (0, 0, 1, 1), rest: Tensor | None = None) -> Tokens:
    """The view of cells `tiles` `(h, w)` and `whole` `(h, w)`: where each stands among the tokens of its photo.

    `rest` are the tokens that have no place. A photo that is seen but once has no `whole`.
    """
    h, w = tiles.shape
    none = torch.empty(0, dtype=torch.long)
    placeless = none if rest is None else rest.flatten()
    if whole is None:
        return Ordered(prefix=len(placeless), shape=(h, w), order=torch.cat([placeless, tiles.flatten()]))
    order = torch.cat([placeless, tiles.flatten(), whole.flatten()])
    return Fused(shape=(h, w), order=order, whole=(whole.shape[0], whole.shape[1]), frame=frame)
