"""Photos cut into tiles, and seen once more as a whole, small: what the families that do so share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..inputs import Inputs
from . import placing
from .grids import Fused, Ordered, Tokens
from .prompted import Prompted

Frame = tuple[float, float, float, float]


class Tiled(Prompted):
    """The tiles' cells are one grid over the photo; the whole's cells lie on the photo, too, and are handed on to that grid.

    `Inputs.pixels` is `(p, n, 3, H, W)`, with `n` parts of each photo: its tiles in reading order, and the whole behind them or,
    with `whole_first`, before them. A family says with `tiles` how a photo is cut.
    """

    grids_differ = True
    whole_first = False
    rest_behind = False  # whether a part's tokens without a place stand behind its patches
    flat = False  # whether the model takes the parts of all photos in one dimension

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._shapes: dict[tuple[int, int], tuple[int, int]] = {}
        self._frames: dict[tuple[int, int], Frame] = {}

    def tiles(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tiles of a photo of that size; one of each where it is not cut."""
        raise NotImplementedError

    def _shape(self, image: Image) -> tuple[int, int]:
        if image.size not in self._shapes:
            self._shapes[image.size] = self.tiles(*image.size)
        return self._shapes[image.size]

    def more(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        _, more = super().more(values, image)
        return _parts(values)[None], more | {"tiles": torch.tensor([self._shape(image)])}

    def given(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        given = super().given(inputs, ids)
        given["pixel_values"] = inputs.pixels.flatten(0, 1) if self.flat else inputs.pixels
        return {name: value for name, value in given.items() if name != "tiles"}

    def encode(self, inputs: Inputs) -> None:
        self.tower(pixel_values=inputs.pixels.flatten(0, 1))

    def _uncoloured(self, image: Image) -> Tensor:
        shape = self._shape(image)
        return side_by_side(self._apart(self._cut(image), shape)[0].transpose(0, 1), shape)

    def _whole(self, image: Image) -> Tensor:
        """What the tower sees of a photo at once, `(3, H, W)` in 0..255."""
        _, whole = self._apart(self._cut(image), self._shape(image))
        assert whole is not None
        return whole

    def _cut(self, image: Image) -> Tensor:
        """All parts of a photo, `(n, 3, H, W)` in 0..255."""
        plain = {"do_rescale": False, "do_normalize": False}
        return _parts(self.processor(images=image, text=self.wording(None), return_tensors="pt", **plain)).float()

    def _apart(self, parts: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """The tiles `(rows columns, ...)` among a photo's `parts`, and the whole, None where the one tile is all."""
        if len(parts) == shape[0] * shape[1]:
            return parts, None
        return (parts[1:], parts[0]) if self.whole_first else (parts[:-1], parts[-1])

    def frame(self, width: int, height: int) -> Frame:
        """Where the whole lies on the grid of the tiles, 0 to 1 of its width and height."""
        if (width, height) not in self._frames:
            x0, y0, x1, y1 = placing.measure(width, height, self._whole).frame
            left, top, right, bottom = self.placement(width, height).frame
            across, down = right - left, bottom - top
            self._frames[width, height] = (x0 - left) / across, (y0 - top) / down, (x1 - left) / across, (y1 - top) / down
        return self._frames[width, height]

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> Tokens:
        """Each part has one cell for each patch, and before or behind them its own tokens without a place (CLS)."""
        patch = self.model.config.vision_config.patch_size
        sides = (patch, patch) if isinstance(patch, int) else patch
        h, w = (size // side for size, side in zip(inputs.pixels.shape[-2:], sides, strict=True))
        rows, columns = inputs.extra_inputs["tiles"][0].tolist()
        n = inputs.pixels.shape[1]
        tokens = torch.arange(n * (self.prefix + h * w)).view(n, -1)
        cells, rest = tokens[:, self.prefix :], tokens[:, : self.prefix]
        if self.rest_behind:
            cells, rest = tokens[:, : h * w], tokens[:, h * w :]
        tiles, whole = self._apart(cells.view(n, h, w), (rows, columns))
        place = inputs.placements[0]
        frame = (0.0, 0.0, 1.0, 1.0) if whole is None else self.frame(place.width, place.height)
        return fused(side_by_side(tiles, (rows, columns)), whole, frame, rest)

    def _kind(self, inputs: Inputs) -> Hashable:
        return super()._kind(inputs), tuple(inputs.extra_inputs["tiles"][0].tolist())


def side_by_side(tiles: Tensor, shape: tuple[int, int]) -> Tensor:
    """Tiles `(..., n, h, w)` in reading order, put together: `(..., rows h, columns w)`."""
    return tiles.unflatten(-3, shape).transpose(-3, -2).flatten(-2).flatten(-3, -2)  # type: ignore[no-untyped-call, no-any-return]


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


def _parts(values: Mapping[str, Tensor]) -> Tensor:
    """One photo's parts `(n, 3, H, W)`, from what the processor gave; some give them in a batch of one."""
    return values["pixel_values"].flatten(0, -4)
