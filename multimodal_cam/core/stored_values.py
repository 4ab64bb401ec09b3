"""Values of photos as they are stored: 12 or 16 bits, floating point, any number of bands; and how they are drawn in 8 bits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

STORED = "multimodal_cam_stored"  # attribute of an RGB image, which copies and crops of it do not have
DEPTHS = (8, 10, 12, 14, 16)  # bits of usual sensors

_log = logging.getLogger("multimodal_cam")


def stored_values(image: Image.Image) -> np.ndarray:
    """The values `(H, W)` or `(H, W, bands)` that an image was loaded from with `raw=True`; else its own, in 8 bits."""
    import numpy as np

    values: np.ndarray | None = getattr(image, STORED, None)
    return np.array(image) if values is None else values


def with_stored_values(image: Image.Image, values: np.ndarray) -> Image.Image:
    """`image`, which draws `values`, with them."""
    setattr(image, STORED, values)
    return image


def mirrored(image: Image.Image) -> Image.Image:
    """The image and its stored values from left to right."""
    from PIL import ImageOps

    return with_stored_values(ImageOps.mirror(image), stored_values(image)[:, ::-1].copy())


def with_inverted_box(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """A copy in which dark and bright are exchanged in `box` (left, top, right, bottom), in its stored values, too."""
    from PIL import ImageOps

    copy = image.copy()
    copy.paste(ImageOps.invert(image.crop(box)), box)
    values = stored_values(image).copy()
    part = values[box[1] : box[3], box[0] : box[2]]
    low, high = (0, 255) if values.dtype == "uint8" else (values.min(), values.max())
    part[...] = low + (high - part)
    return with_stored_values(copy, values)


def drawn(values: np.ndarray, name: str, bits: int | None = None) -> np.ndarray:
    """The values of a photo in 8 bits, its first three bands or its one; what was done is said, if it was anything.

    `bits` is what the file itself says about its values. Without it, whole numbers get the smallest usual depth that holds them.

    Raises ValueError for NaN and infinite values.
    """
    import numpy as np

    if values.ndim == 3:
        values = _visible_bands(values, name)
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name}: got {values.dtype} with {int((~np.isfinite(values)).sum())} NaN or infinite values")
    low, high, said = _range(values, bits)
    if said:
        _log.warning("%s holds values from %g to %g: %s", name, values.min(), values.max(), said)
    scaled = (values.astype(np.float64) - low) * (255 / max(high - low, 1e-300))
    return np.floor(scaled.clip(0, 255) + 0.5).astype(np.uint8)


def _visible_bands(values: np.ndarray, name: str) -> np.ndarray:
    bands = values.shape[2]
    if bands > 3:
        _log.warning("%s has %d bands: drawn from the first three, as red, green and blue", name, bands)
    return values[..., :3] if bands >= 3 else values[..., 0]


def _range(values: np.ndarray, bits: int | None) -> tuple[float, float, str]:
    """What becomes 0 and 255, and what to say about it; nothing where all 16 bits are used, or the file says how many are."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0, 1, "drawn with 1 as white"
    whole = values.dtype.kind in "iu" or bool((values == values.round()).all())
    if low < 0 or high > 65535 or not (whole or high <= 255):
        return low, high, "drawn with the lowest as black and the highest as white"
    if bits is not None and high < 2**bits:
        return 0, 2**bits - 1, ""
    depth = next(depth for depth in DEPTHS if high < 2**depth)
    said = "" if depth == 16 else f"read as {depth}-bit, drawn with {2**depth - 1} as white"
    return 0, 2**depth - 1, said


def file_bits(image: Image.Image) -> int | None:
    """Bits of a value by the file's own words: TIFF's BitsPerSample or MaxSampleValue, where these say less than 16."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(258, (16,))
    fewest = min(bits) if isinstance(bits, tuple) else int(bits)
    largest = tags.get(281)
    if largest is not None:
        top = largest[0] if isinstance(largest, tuple) else largest
        fewest = min(fewest, int(top).bit_length())
    return fewest if 8 <= fewest < 16 else None
