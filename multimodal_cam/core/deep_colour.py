"""16-bit colours of PNG and TIFF files, of which Pillow decodes the upper 8 bits: decoded once more, for the lower ones."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .image_paths import open_image

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_log = logging.getLogger("multimodal_cam")

OTHER_BYTE = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B"}  # raw modes that take the other one of two bytes


def has_deep_colour(image: Image.Image) -> bool:
    """Whether an opened, not yet loaded file has 16 bits for each colour (and transparency)."""
    raw_mode = _raw_mode(image)
    if raw_mode.startswith("LA"):
        _log.warning("16-bit grey with transparency: its upper 8 bits are read (save it without transparency for all of them)")
        return False
    return image.mode in ("RGB", "RGBA") and bool(raw_mode)


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name of how 16-bit values lie in a file; empty for other files."""
    tiles: Any = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    first = str(args[0] if isinstance(args, tuple) and args else args)
    return first if any(end in first for end in OTHER_BYTE) else ""


def deep_colour(path: Path) -> np.ndarray:
    """The colours `(H, W, 3)` of such a file, uint16; with transparency `(H, W, 4)`."""
    import numpy as np

    with open_image(path) as upper, open_image(path) as lower:
        other: Any = lower
        other.tile = [tile._replace(args=_other_byte(tile.args)) for tile in other.tile]
        colours: np.ndarray = (np.asarray(upper).astype(np.uint16) << 8) | np.asarray(lower)
    return colours


def _other_byte(args: Any) -> Any:
    if isinstance(args, tuple):
        return tuple(map(_other_byte, args))
    if isinstance(args, str):
        for end, other in OTHER_BYTE.items():
            if args.endswith(end):
                return args.removesuffix(end) + other
    return args
