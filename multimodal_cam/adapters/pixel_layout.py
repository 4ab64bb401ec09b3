"""What a preprocessing returns -> pixels `(c, H, W)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

KEYS = ("pixel_values", "image", "pixels")  # where processors of transformers and albumentations put the picture
BANDS = 4  # a last side of as many or fewer holds channels, if the first one is longer


def run_on_copy(transform: Callable[[Any], Any], photo: Any) -> Any:
    """What the transform makes of a copy of the photo: many shrink it, draw on it or scale it in place (`image.thumbnail`)."""
    copy = photo.copy()
    if hasattr(photo, "filename"):  # Pillow's copies forget theirs
        copy.filename = photo.filename
    return transform(copy)


def pixels_of(made: Any) -> Tensor:
    """Pixels `(c, H, W)` of one photo, from a tensor or an array `(c, H, W)`, `(H, W)`, `(H, W, c)` or `(1, c, H, W)`.

    Dicts of image processors are looked into. Raises ValueError for anything else, several pictures of one photo included.
    """
    if isinstance(made, Mapping):
        made = _in_mapping(made)
    if isinstance(made, Sequence) and not isinstance(made, str) and len(made) == 1:
        made = made[0]
    pixels = _tensor(made)
    if pixels.ndim > 3 and pixels.shape[: pixels.ndim - 3].numel() == 1:
        pixels = pixels.reshape(pixels.shape[-3:])
    if pixels.ndim == 4:
        raise ValueError(
            f"preprocess: expected pixels (c, H, W) of a photo, got {len(pixels)} pictures of it, {tuple(pixels.shape)}: "
            "leave out what cuts or copies it (FiveCrop, TenCrop)"
        )
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ValueError(f"preprocess: expected pixels (c, H, W) of a photo, got shape {tuple(pixels.shape)}")
    if pixels.shape[2] <= BANDS < pixels.shape[0]:
        pixels = pixels.permute(2, 0, 1)
    return pixels


def _in_mapping(made: Mapping[str, Any]) -> Any:
    for key in KEYS:
        if key in made:
            return made[key]
    raise ValueError(
        f"preprocess: expected pixels (c, H, W), or a dict with one of {', '.join(KEYS)}; got one of {', '.join(made)}"
    )


def _tensor(made: Any) -> Tensor:
    if isinstance(made, Tensor):
        return made
    if isinstance(made, np.ndarray):
        wide = (
            made.astype(np.float32)
            if made.dtype.kind not in "iuf" or made.dtype.itemsize > 1 and made.dtype.kind == "u"
            else made
        )
        return torch.from_numpy(np.ascontiguousarray(wide))
    hint = ": end it with ToTensor()" if hasattr(made, "getbands") else ""
    if isinstance(made, Sequence) and not isinstance(made, str):
        hint = f" of {len(made)} pictures: leave out what cuts or copies the photo (FiveCrop, TenCrop)"
    raise ValueError(f"preprocess: expected a tensor or an array (c, H, W) of a photo, got {type(made).__name__}{hint}")
