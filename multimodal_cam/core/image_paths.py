"""Paths of photos: what is opened, and what is said of a string that is no such path. A leaf."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # Pillow's names; its other decoders may start programs
MAX_BYTES = 2**31  # 178 million pixels of 12 bytes
URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*[;,]", re.IGNORECASE)
BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{64,}={0,2}\s*")


def open_image(file: Any) -> Image.Image:
    """Pillow's image of a path or file, as one of `FORMATS`, or of those that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


def check_path(path: Path, name: str) -> None:
    """Raise, as `load_image` does, for a path that is no regular file of a sensible size."""
    _check_name(path, name)
    if path.is_dir():
        raise IsADirectoryError(f"{name!r} is a directory: give its photos, for example sorted(Path({name!r}).glob('*.jpg'))")
    if not path.exists():
        if URL.match(name):
            raise ValueError(f"{name!r} is a URL, and this library fetches nothing: download the file and give its path")
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise FileNotFoundError(f"there is no file {name!r}{where}: check the path")
    if not path.is_file():
        raise ValueError(f"{name!r} is no regular file: give the path of an image file")
    if path.stat().st_size == 0:
        raise ValueError(f"{name!r} is empty (0 bytes): copy or download it again")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{name!r} has {path.stat().st_size:,} bytes, more than the {MAX_BYTES:,} that are read: make the photo smaller first"
        )


def _check_name(path: Path, name: str) -> None:
    """Raise ValueError for what is no path but the photo itself as text, and for names that no file can have."""
    decode = "decode it, and pass PIL.Image.open(io.BytesIO(base64.b64decode(text)))"
    if DATA_URL.match(name):
        raise ValueError(f"{name[:40]!r}… is a data URL, not a path: {decode}")
    try:
        os.lstat(path)
    except (OSError, ValueError) as error:
        if BASE64.fullmatch(name) and not isinstance(error, ValueError):
            raise ValueError(f"{name[:40]!r}… looks like base64, and no file is called so: {decode}") from None
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            what = (
                "holds a null character" if isinstance(error, ValueError) else f"is longer than file names can be ({len(name)})"
            )
            raise ValueError(f"{name[:40]!r}… {what}: give the path of an image file") from None
