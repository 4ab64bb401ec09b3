"""Whatever a person calls a photo -> an upright RGB image, or an error that says what to do. A leaf."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray

MAX_PIXELS = 178_956_970  # where Pillow refuses too: 1.3 times a 12,000 x 11,000 photo
ORIENTATION = 0x0112  # the EXIF tag
URL = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)

_log = logging.getLogger("multimodal_cam")
_lock = threading.Lock()


def load_image(source: ImageSource) -> Image.Image:
    """The photo as a new, upright PIL image in mode RGB, without metadata.

    `source` is a path, a PIL image or a numpy array `(H, W, 3)` of uint8. EXIF rotation is applied, what is
    transparent is composited on white, 16 bits are scaled to 8, and of several frames the first is taken (of
    a PIL image: the current one). Lost frames and transparency are said through
    `logging.getLogger("multimodal_cam")`.

    Raises FileNotFoundError or IsADirectoryError for such paths, TypeError for what is no photo at all, and
    ValueError for URLs, damaged files, wrong arrays, and more than `MAX_PIXELS` pixels.
    """
    from PIL import Image

    if isinstance(source, Image.Image):
        return _upright(source, "the image")
    if isinstance(source, (str, os.PathLike)):
        return _read(Path(source), os.fspath(source))
    if type(source).__module__ == "numpy" and hasattr(source, "dtype"):
        return Image.fromarray(_checked(source))
    raise TypeError(
        f"expected a path, a PIL image or a numpy array (H, W, 3) of uint8, got {type(source).__name__}{_hint(source)}"
    )


def _hint(source: object) -> str:
    if isinstance(source, (bytes, bytearray)):
        return ": PIL.Image.open(io.BytesIO(data)) makes an image of it"
    if hasattr(source, "read"):
        return ": PIL.Image.open(file) makes an image of it"
    if isinstance(source, (list, tuple)):
        return ": give one photo here"
    if type(source).__module__ == "torch":
        return ": torchvision.transforms.functional.to_pil_image(tensor) makes an image of it"
    return ""


def _read(path: Path, name: str) -> Image.Image:
    """The image in a file; `name` is the path as it was given."""
    from PIL import Image

    _check_path(path, name)
    with _damage_said(repr(name)), _quiet():
        opened = Image.open(path)
    with opened as image:
        if image.format != "MPO" and getattr(image, "is_animated", False):  # an MPO is one photo with previews
            _log.warning("%r holds several frames: only the first is used", name)
        return _upright(image, repr(name))


def _check_path(path: Path, name: str) -> None:
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


def _upright(image: Image.Image, name: str) -> Image.Image:
    """A copy in RGB, turned as its EXIF says."""
    if 0 in image.size:
        raise ValueError(f"{name} is {image.width} x {image.height} pixels: a photo needs at least one each way")
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{name} {_too_large()}")
    with _damage_said(name):
        image.load()
    turn = _turn(image, name)
    rgb = _to_rgb(image, name)
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info.clear()  # an orientation left behind would turn it once more
    return rgb


def _turn(image: Image.Image, name: str) -> Any:
    from PIL.Image import Transpose

    try:
        with _quiet():
            orientation = image.getexif().get(ORIENTATION)
    except Exception as error:  # a photo with broken metadata is still a photo
        _log.warning("%s has unreadable EXIF data (%s): taken as upright", name, error)
        return None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation) if isinstance(orientation, int) else None


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        image = _to_8_bit(image, name)
    elif image.mode == "F":
        raise ValueError(
            f"{name} holds floating-point numbers, whose range only you know: scale them to 0..255 and make them 8-bit"
        )
    if image.has_transparency_data:
        return _on_white(image, name)
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise ValueError(f"{name} has mode {image.mode}: convert it to RGB first ({error})") from error


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """16-bit grey values, scaled: 65535 becomes 255."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"{name} holds integers from {values.min()} to {values.max()}, more than 16 bits: scale them to 0..255")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _on_white(image: Image.Image, name: str) -> Image.Image:
    from PIL import Image

    rgba = image.convert("RGBA")
    lowest = rgba.getchannel("A").getextrema()[0]
    if isinstance(lowest, (int, float)) and lowest < 255:
        _log.warning("%s is partly transparent: composited on white", name)
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _checked(array: np.ndarray) -> np.ndarray:
    """`array`, if it is `(H, W, 3)` uint8; else an error that says how to make it so."""
    import numpy as np

    wanted = "expected a numpy array (H, W, 3) of uint8, got"
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{wanted} {array.dtype} with {int(np.isnan(array).sum())} NaN values: a photo has none")
    if array.dtype != np.uint8:
        how = {
            "f": ": for values in 0..1, (array * 255).round().astype('uint8')",
            "b": ": array.astype('uint8') * 255",
        }
        other = ": scale the values to 0..255, then array.astype('uint8')"
        raise TypeError(f"{wanted} {array.dtype}{how.get(array.dtype.kind, other)}")
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"{wanted} shape {array.shape}{_shape_hint(array.shape)}")
    if 0 in array.shape:
        raise ValueError(f"{wanted} shape {array.shape}: a photo needs at least one pixel each way")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ValueError(f"the array {_too_large()}")
    return np.ascontiguousarray(array)


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return ": numpy.stack([array] * 3, axis=-1) makes RGB of grey"
    if len(shape) == 3 and shape[0] == 3:
        return ": array.transpose(1, 2, 0) puts the channels last"
    if len(shape) == 3 and shape[2] == 4:
        return ": PIL.Image.fromarray(array) keeps the transparency, array[:, :, :3] drops it"
    if len(shape) == 3 and shape[2] == 1:
        return ": array.repeat(3, axis=2) makes RGB of grey"
    if len(shape) == 4:
        return ": give one photo, or a list of them to explain()"
    return ""


def _too_large() -> str:
    return f"has more than {MAX_PIXELS:,} pixels, the most that is read: make it smaller first"


@contextmanager
def _damage_said(name: str) -> Iterator[None]:
    """What decoders raise (OSError, SyntaxError, struct.error, zlib.error and more) as one ValueError."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except Image.DecompressionBombError:
        raise ValueError(f"{name} {_too_large()}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{name} is no image that Pillow can read: save it as JPEG or PNG (HEIC photos too)") from None
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise  # the machine's fault, not the photo's
        raise ValueError(f"{name} is truncated or damaged ({error}): copy or download it again") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of Pillow's about size or broken metadata: what matters is said or raised by us.

    `catch_warnings` swaps global state, so only one of our threads at a time is in here, and only while a
    header is read.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
