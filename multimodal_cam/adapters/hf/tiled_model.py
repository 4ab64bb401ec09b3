"""Models that see an image in tiles, and once more as a whole: the thumbnail."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..inputs import Inputs
from . import image_placement
from .family_spec import Capabilities
from .prompted_model import PromptedModel
from .token_views import OrderedTokenView, TiledTokenView, TokenView

Frame = tuple[float, float, float, float]


class TiledModel(PromptedModel):
    """The tiles' cells are one grid over the image; thumbnail cells are redistributed onto it.

    `Inputs.pixels` is `(p, n, 3, H, W)`, with `n` parts of each photo: its tiles in reading order, and the thumbnail behind or,
    with `thumbnail_before_tiles`, before them. A family says with `tiles` how a photo is cut.
    """

    capabilities = Capabilities(grid_follows_image=True)

    def __init__(self, *parts: Any, **extra: Any) -> None:
        super().__init__(*parts, **extra)
        self._shapes: dict[tuple[int, int], tuple[int, int]] = {}
        self._frames: dict[tuple[int, int], Frame] = {}

    @abstractmethod
    def tile_grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tiles of a photo of that size; one of each where it is not cut."""

    def _cached_tile_grid(self, image: Image) -> tuple[int, int]:
        if image.size not in self._shapes:
            self._shapes[image.size] = self.tile_grid(*image.size)
        return self._shapes[image.size]

    def split_processor_output(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        _, extra = super().split_processor_output(values, image)
        return _parts(values)[None], extra | {"tiles": torch.tensor([self._cached_tile_grid(image)])}

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        kwargs = super().forward_kwargs(inputs, ids)
        kwargs["pixel_values"] = inputs.pixels.flatten(0, 1) if self.capabilities.tiles_in_one_dimension else inputs.pixels
        return {name: value for name, value in kwargs.items() if name != "tiles"}

    def run_tower(self, inputs: Inputs) -> None:
        self.tower(pixel_values=inputs.pixels.flatten(0, 1))

    def _unnormalized_image(self, image: Image) -> Tensor:
        shape = self._cached_tile_grid(image)
        return side_by_side(self._split_thumbnail(self._raw_parts(image), shape)[0].transpose(0, 1), shape)

    def _thumbnail(self, image: Image) -> Tensor:
        """What the tower sees of a photo at once, `(3, H, W)` in 0..255."""
        _, thumbnail = self._split_thumbnail(self._raw_parts(image), self._cached_tile_grid(image))
        assert thumbnail is not None
        return thumbnail

    def _raw_parts(self, image: Image) -> Tensor:
        """All parts of a photo, `(n, 3, H, W)` in 0..255."""
        plain = {"do_rescale": False, "do_normalize": False}
        return _parts(self.processor(images=image, text=self.prompt_text(None), return_tensors="pt", **plain)).float()

    def _split_thumbnail(self, parts: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """The tiles `(rows columns, ...)` among an image's `parts`, and the thumbnail; None where there is one tile only."""
        if len(parts) == shape[0] * shape[1]:
            return parts, None
        return (parts[1:], parts[0]) if self.capabilities.thumbnail_before_tiles else (parts[:-1], parts[-1])

    def thumbnail_frame(self, width: int, height: int) -> Frame:
        """Where the thumbnail lies on the grid of the tiles, 0 to 1 of its width and height."""
        if (width, height) not in self._frames:
            x0, y0, x1, y1 = image_placement.measure(width, height, self._thumbnail).frame
            left, top, right, bottom = self.placement(width, height).frame
            across, down = right - left, bottom - top
            self._frames[width, height] = (x0 - left) / across, (y0 - top) / down, (x1 - left) / across, (y1 - top) / down
        return self._frames[width, height]

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        """Each part has one cell for each patch, and before or behind them its own tokens without a place (CLS)."""
        patch = self.model.config.vision_config.patch_size
        sides = (patch, patch) if isinstance(patch, int) else patch
        h, w = (size // side for size, side in zip(inputs.pixels.shape[-2:], sides, strict=True))
        rows, columns = inputs.extra_inputs["tiles"][0].tolist()
        n = inputs.pixels.shape[1]
        tokens = torch.arange(n * (self.prefix + h * w)).view(n, -1)
        cells, rest = tokens[:, self.prefix :], tokens[:, : self.prefix]
        if self.capabilities.prefix_after_patches:
            cells, rest = tokens[:, : h * w], tokens[:, h * w :]
        tiles, thumbnail = self._split_thumbnail(cells.view(n, h, w), (rows, columns))
        place = inputs.placements[0]
        frame = (0.0, 0.0, 1.0, 1.0) if thumbnail is None else self.thumbnail_frame(place.width, place.height)
        return tiled_view(side_by_side(tiles, (rows, columns)), thumbnail, frame, rest)

    def cache_key(self, inputs: Inputs) -> Hashable:
        return super().cache_key(inputs), tuple(inputs.extra_inputs["tiles"][0].tolist())


def side_by_side(tiles: Tensor, shape: tuple[int, int]) -> Tensor:
    """Tiles `(..., n, h, w)` in reading order, put together: `(..., rows h, columns w)`."""
    return tiles.unflatten(-3, shape).transpose(-3, -2).flatten(-2).flatten(-3, -2)  # type: ignore[no-untyped-call, no-any-return]


def tiled_view(tiles: Tensor, thumbnail: Tensor | None, frame: Frame = (0, 0, 1, 1), rest: Tensor | None = None) -> TokenView:
    """The view of cells `tiles` `(h, w)` and `thumbnail` `(h, w)`: where each stands among the tokens of its photo.

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
    """One photo's parts `(n, 3, H, W)`, from what the processor gave; some give them in a batch of one."""
    return values["pixel_values"].flatten(0, -4)
