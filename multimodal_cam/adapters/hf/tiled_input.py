"""Image input of models that see an image in tiles, and once more as a whole: the thumbnail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from .. import image_placement
from ..inputs import Inputs
from ..state_cache import StateCache
from .image_input import SIZES_KEPT, UNNORMALIZED, ImageInput
from .loaded_model import TILES, LoadedModel
from .token_views import OrderedTokenView, TiledTokenView, TokenView

Frame = tuple[float, float, float, float]


@dataclass(frozen=True)
class Tiling:
    """How a family cuts images. `grid(loaded, width, height)` gives rows and columns of tiles, 1 and 1 where nothing is cut."""

    grid: Callable[[LoadedModel, int, int], tuple[int, int]]
    thumbnail_first: bool = False  # the thumbnail is the first part, not the last
    prefix_after_patches: bool = False  # a part's CLS and registers are its last tokens

    def split(self, parts: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """The tiles `(rows columns, ...)` among an image's `parts`, and the thumbnail; None where there is one tile only."""
        if len(parts) == shape[0] * shape[1]:
            return parts, None
        return (parts[1:], parts[0]) if self.thumbnail_first else (parts[:-1], parts[-1])


class TiledInput(ImageInput):
    """The tiles' cells are one grid over the image; thumbnail cells are redistributed onto it.

    `Inputs.pixels` is `(p, n, 3, H, W)`, with `n` parts of each image: its tiles in reading order, and the thumbnail.
    """

    def __init__(self, loaded: LoadedModel, *parts: Any) -> None:
        super().__init__(loaded, *parts)
        assert loaded.spec.tiling is not None
        self.tiling = loaded.spec.tiling
        self._shapes = StateCache[tuple[int, int]](size=SIZES_KEPT)
        self._frames = StateCache[Frame](size=SIZES_KEPT)

    def tile_grid(self, image: Image) -> tuple[int, int]:
        """Rows and columns of tiles of images of that size."""
        return self._shapes.value(self.size_state(image.size), lambda: self.tiling.grid(self.loaded, *image.size))

    def split_output(self, values: dict[str, Any], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        _, extra = super().split_output(values, image)
        return _parts(values)[None], extra | {TILES: torch.tensor([self.tile_grid(image)])}

    def unnormalized_image(self, image: Image, question: str | None = None) -> Tensor:
        shape = self.tile_grid(image)
        return side_by_side(self.tiling.split(unnormalized_parts(self.loaded, image), shape)[0].transpose(0, 1), shape)

    def _thumbnail(self, image: Image) -> Tensor:
        """The thumbnail of an image, `(3, H, W)` in 0..255."""
        _, thumbnail = self.tiling.split(unnormalized_parts(self.loaded, image), self.tile_grid(image))
        assert thumbnail is not None
        return thumbnail

    def thumbnail_frame(self, width: int, height: int) -> Frame:
        """Where the thumbnail lies on the grid of the tiles, 0 to 1 of its width and height."""
        return self._frames.value(self.size_state((width, height)), lambda: self._measured_frame(width, height))

    def _measured_frame(self, width: int, height: int) -> Frame:
        x0, y0, x1, y1 = image_placement.measure(width, height, self._thumbnail).frame
        left, top, right, bottom = self.placement((width, height)).frame
        across, down = right - left, bottom - top
        return (x0 - left) / across, (y0 - top) / down, (x1 - left) / across, (y1 - top) / down

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        """Each part has one cell for each patch, and before or behind them its own tokens without a place (CLS)."""
        patch, prefix = self.loaded.model.config.vision_config.patch_size, self.loaded.prefix
        sides = (patch, patch) if isinstance(patch, int) else patch
        h, w = (size // side for size, side in zip(inputs.pixels.shape[-2:], sides, strict=True))
        rows, columns = inputs.extra_inputs[TILES][0].tolist()
        n = inputs.pixels.shape[1]
        tokens = torch.arange(n * (prefix + h * w)).view(n, -1)
        cells, rest = tokens[:, prefix:], tokens[:, :prefix]
        if self.tiling.prefix_after_patches:
            cells, rest = tokens[:, : h * w], tokens[:, h * w :]
        tiles, thumbnail = self.tiling.split(cells.view(n, h, w), (rows, columns))
        place = inputs.placements[0]
        frame = (0.0, 0.0, 1.0, 1.0) if thumbnail is None else self.thumbnail_frame(place.width, place.height)
        return tiled_view(side_by_side(tiles, (rows, columns)), thumbnail, frame, rest)


def unnormalized_parts(loaded: LoadedModel, image: Image) -> Tensor:
    """All parts of an image, `(n, 3, H, W)` in 0..255."""
    text = loaded.spec.prompt.text(loaded, None)
    return _parts(loaded.processor(images=image, text=text, return_tensors="pt", **UNNORMALIZED)).float()


def side_by_side(tiles: Tensor, shape: tuple[int, int]) -> Tensor:
    """Tiles `(..., n, h, w)` in reading order, put together: `(..., rows h, columns w)`."""
    return tiles.unflatten(-3, shape).transpose(-3, -2).flatten(-2).flatten(-3, -2)  # type: ignore[no-untyped-call, no-any-return]


def tiled_view(tiles: Tensor, thumbnail: Tensor | None, frame: Frame = (0, 0, 1, 1), rest: Tensor | None = None) -> TokenView:
    """The view of cells `tiles` `(h, w)` and `thumbnail` `(h, w)`: where each stands among the tokens of its image.

    `rest` are the tokens that have no place. An image that is seen but once has no `thumbnail`.
    """
    h, w = tiles.shape
    none = torch.empty(0, dtype=torch.long)
    placeless = none if rest is None else rest.flatten()
    if thumbnail is None:
        return OrderedTokenView(prefix=len(placeless), shape=(h, w), order=torch.cat([placeless, tiles.flatten()]))
    order = torch.cat([placeless, tiles.flatten(), thumbnail.flatten()])
    return TiledTokenView(shape=(h, w), order=order, thumbnail=(thumbnail.shape[0], thumbnail.shape[1]), frame=frame)


def _parts(values: Mapping[str, Tensor]) -> Tensor:
    """One image's parts `(n, 3, H, W)`, from the processor's output; some give them in a batch of one."""
    return values["pixel_values"].flatten(0, -4)
