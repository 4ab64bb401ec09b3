"""Photos with known patterns, of one form: what a preprocessing makes of them says where it puts every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..core.stored_values import with_stored_values

PhotoValues = Image.Image | np.ndarray  # an RGB image, or an array as stored: (H, W) or (H, W, bands)

CODES = 20  # random stripes a side: two columns of cells that agree in all of them are improbable
BANDS, GOLDEN = 16, 0.618034
DARKEST = 0.5  # share of a photo's own values that its darkened copies keep at least


@dataclass(frozen=True)
class PhotoForm:
    """Size and kind of values of a photo: RGB images, or arrays of a shape and dtype, whose values lie from `low` to `high`."""

    shape: tuple[int, ...]
    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    is_array: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        """Hashable that photos of the same size and kind of values share, bright or dark."""
        return self.is_array, self.shape, self.dtype

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.shape[1], self.shape[0]

    def uniform(self, shade: np.ndarray | float) -> PhotoValues:
        """A photo of this form; `shade`, broadcastable to `(H, W)`, is 0 for the lowest value and 1 for the highest."""
        values = self.low + (self.high - self.low) * np.clip(np.asarray(shade, dtype=np.float32), 0, 1)
        return self._photo(values)

    def darkened(self, photo: PhotoValues, shade: np.ndarray | float, inverted: bool) -> PhotoValues:
        """`photo` with its values scaled by `DARKEST` where the shade is 0, unchanged where it is 1.

        Scaling keeps what is lowest (black borders); `inverted` scales the distance to the highest value, which keeps white ones.
        """
        values, end = np.asarray(photo, dtype=np.float32), self.high if inverted else self.low
        share = np.asarray(DARKEST + (1 - DARKEST) * np.asarray(shade, dtype=np.float32), dtype=np.float32)
        share = share if values.ndim == 2 or share.ndim == 0 else share[..., None]
        return self._photo(end + (values - end) * share)

    def _photo(self, values: np.ndarray) -> PhotoValues:
        dtype = np.dtype(self.dtype)
        values = (values.round() if dtype.kind in "iu" else values).astype(dtype)
        if not self.is_array and values.ndim == 2:
            grey = Image.fromarray(np.ascontiguousarray(np.broadcast_to(values, self.shape[:2])))
            return Image.merge("RGB", (grey, grey, grey))
        if values.ndim == 2 and len(self.shape) == 3:
            values = values[..., None]
        full = np.ascontiguousarray(np.broadcast_to(values, self.shape))
        return full if self.is_array else Image.fromarray(full)


def form_of(photo: PhotoValues) -> PhotoForm:
    """The form of an RGB image, or of an array as stored."""
    if isinstance(photo, Image.Image):
        return rgb_form(*photo.size)
    low, high = (float(photo.min()), float(photo.max())) if photo.size else (0.0, 1.0)
    return PhotoForm(photo.shape, str(photo.dtype), low, high if high > low else low + 1, is_array=True)


def rgb_form(width: int, height: int) -> PhotoForm:
    return PhotoForm((height, width, 3))


def as_image(photo: PhotoValues) -> Image.Image:
    """The photo as adapters take it: an array goes along with an image of its size, on which it is not drawn."""
    if isinstance(photo, Image.Image):
        return photo
    return with_stored_values(Image.new("RGB", (photo.shape[1], photo.shape[0])), photo)


def as_stored(image: Image.Image, bands: int) -> Iterator[np.ndarray]:
    """The grey of an image in arrays as photos may be stored: with that many bands, or with one."""
    grey = np.asarray(image.convert("L"))
    shapes = [np.stack([grey] * bands, axis=-1), grey, grey[..., None]]
    for values in shapes:
        yield from (values.astype(np.uint16) * 257, values, values.astype(np.float32) / 255)


def ramp(size: tuple[int, int], axis: int) -> np.ndarray:
    """Shade `(H, W)` that grows from 0 to 1 along an axis (0 across, 1 down).

    It is a little darker or brighter in each of `BANDS` bands across the axis, so that rounding to 8 bits cancels out.
    """
    along = (np.arange(size[axis], dtype=np.float32) + 0.5) / size[axis]
    band = np.arange(size[1 - axis]) * BANDS // size[1 - axis]
    shift = ((band * GOLDEN % 1 - 0.5) / 255).astype(np.float32)
    shift -= shift.mean()
    return along[None, :] + shift[:, None] if axis == 0 else along[:, None] + shift[None, :]


def stripe_codes(cells: int) -> np.ndarray:
    """Black and white of `cells` stripes in each of the code photos, `(CODES, cells)` of 0 and 1."""
    return np.random.default_rng(0).integers(0, 2, (CODES, cells)).astype(np.float32)


def stripes(size: tuple[int, int], axis: int, code: np.ndarray) -> np.ndarray:
    """Shade of one code photo: stripes of equal width along an axis, `(1, W)` or `(H, 1)`."""
    cell = np.minimum(((np.arange(size[axis]) + 0.5) / size[axis] * len(code)).astype(int), len(code) - 1)
    shades: np.ndarray = code[cell]
    return shades[None, :] if axis == 0 else shades[:, None]
