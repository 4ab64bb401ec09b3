"""Whatever a person calls a photo -> an upright RGB image, or an error that says what to do. A leaf."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .deep_colour import deep_colour, has_deep_colour
from .dicom import is_dicom, read_dicom
from .image_paths import FORMATS, MAX_BYTES, check_path, open_image
from .stored_values import drawn, file_bits, stored_values, with_stored_values

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

MAX_PIXELS = 178_956_970  # where Pillow refuses too: 1.3 times a 12,000 x 11,000 photo

_log = logging.getLogger("multimodal_cam")
_lock = threading.Lock()


def load_image(source: ImageSource, *, raw: bool = False) -> Image.Image:
    """The photo as a new, upright PIL image in mode RGB, without metadata.

    `source` is a path, a PIL image, the bytes of a file or a file open for reading them, or a numpy array or tensor: `(H, W)`,
    `(H, W, 1)` or `(H, W, 3)`. EXIF rotation is applied,
    what is transparent is composited on white, and of several frames the first is taken (of a PIL image: the current one). Values
    of other than 8 bits are scaled to 8: by the bits that the file names, else by the fewest of 8, 10, 12, 14, 16 that hold them;
    floating point from 0..1 or 0..255; all others from the lowest to the highest. Lost frames, transparency and scaling are
    said through `logging.getLogger("multimodal_cam")`. `.dcm` files are read by pydicom. The image of a path
    has it as `filename`, as Pillow's have.

    With `raw`, `stored_values` of the image are those of the source, upright, with as many bands as there are.

    Files are opened as one of `FORMATS` only, whatever they are called. Raises FileNotFoundError or IsADirectoryError for such
    paths, TypeError for what is no photo at all, and ValueError for URLs, base64, other formats, damaged files, wrong arrays, and
    more than `MAX_PIXELS` pixels or `image_paths.MAX_BYTES` bytes.
    """
    from PIL import Image

    if isinstance(source, Image.Image):
        return _named(_upright(source, "the image", raw), getattr(source, "filename", ""))
    if isinstance(source, (str, os.PathLike)):
        return _named(_read(Path(source), os.fspath(source), raw), os.fspath(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read_bytes(bytes(source), raw)
    if hasattr(source, "read"):
        return _read_bytes(_content(source), raw)
    if type(source).__module__ == "torch" and hasattr(source, "detach"):
        source = _array_of(source)
    if type(source).__module__ == "numpy" and hasattr(source, "dtype"):
        return _from_values(_checked(source, raw), "the array", raw)
    raise TypeError(
        f"expected a path, a PIL image or a numpy array or tensor (H, W, 3), got {type(source).__name__}{_hint(source)}"
    )


def _named(image: Image.Image, filename: str) -> Image.Image:
    if filename:
        image.filename = filename  # type: ignore[attr-defined]
    return image


def _from_values(values: np.ndarray, name: str, raw: bool, bits: int | None = None, has_alpha: bool = False) -> Image.Image:
    """The image that draws `values`; the fourth band of those with `has_alpha` is their opacity."""
    from PIL import Image

    image = Image.fromarray(drawn(values[..., :3] if has_alpha else values, name, bits)).convert("RGB")
    if has_alpha:
        opacity = values[..., 3] / max(int(values[..., 3].max()), 1)
        image.putalpha(Image.fromarray((opacity * 255).round().astype("uint8")))
        image = _on_white(image, name)
    return with_stored_values(image, values) if raw else image


def _array_of(tensor: Any) -> np.ndarray:
    """A tensor `(c, H, W)`, `(H, W)` or `(H, W, c)` as an array, channels last."""
    array: np.ndarray = tensor.detach().cpu().numpy()
    if array.ndim == 3 and (array.shape[0] <= 4 or array.shape[2] > 4):
        array = array.transpose(1, 2, 0)
    return array


def _hint(source: object) -> str:
    if isinstance(source, (list, tuple)):
        return ": give one photo here"
    if hasattr(source, "__iter__") or hasattr(source, "__getitem__"):
        return ": explain_stream() takes generators, datasets and other iterables, and yields results as they come"
    return ""


def _content(file: Any) -> bytes:
    content = file.read(MAX_BYTES + 1)
    if not isinstance(content, bytes):
        raise TypeError('the file gives text: open it with mode "rb"')
    return content


def _read_bytes(content: bytes, raw: bool) -> Image.Image:
    """The image in the content of a file: through a file, as deep colours and DICOM are read from files only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("photo.dcm" if content[128:132] == b"DICM" else "photo")
        path.write_bytes(content)
        return _read(path, f"the photo of {len(content):,} bytes", raw)


def _read(path: Path, name: str, raw: bool) -> Image.Image:
    """The image in a file; `name` is the path as it was given."""
    from PIL import Image

    check_path(path, name)
    if is_dicom(path):
        values, shown = read_dicom(path, name)
        image = Image.fromarray(shown).convert("RGB")
        return with_stored_values(image, values) if raw else image
    with _damage_said(repr(name)), _quiet():
        opened = open_image(path)
    with opened as image:
        _say_frames(image, name)
        if not has_deep_colour(image):
            return _upright(image, repr(name), raw)
        _check_size(image, repr(name))
        orientation = _orientation(image, name)
        with _damage_said(repr(name)):
            values = _turned_values(deep_colour(path), orientation)
        return _from_values(values, repr(name), raw, file_bits(image), has_alpha=values.shape[2] == 4)


def _say_frames(image: Image.Image, name: str) -> None:
    """Says that frames are left out. An MPO is one photo with previews."""
    if image.format != "MPO" and getattr(image, "is_animated", False):
        _log.warning("%r holds several frames: only the first is used", name)


def _check_size(image: Image.Image, name: str) -> None:
    if 0 in image.size:
        raise ValueError(f"{name} is {image.width} x {image.height} pixels: a photo needs at least one each way")
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{name} {_too_large()}")


def _upright(image: Image.Image, name: str, raw: bool) -> Image.Image:
    """A copy in RGB, turned as its EXIF says."""
    _check_size(image, name)
    with _damage_said(name):
        image.load()
    import numpy as np

    orientation = _orientation(image, name)
    rgb = _to_rgb(image, name)
    rgb.info.clear()  # an orientation left behind would turn it once more
    rgb = _turned(rgb, orientation)
    if not raw:
        return rgb
    values = stored_values(image) if image.mode not in ("1", "P", "PA") else np.array(image.convert("RGB"))
    return with_stored_values(rgb, _turned_values(values, orientation))


def _orientation(image: Image.Image, name: str) -> int:
    """EXIF's orientation, 1 where there is none that can be read."""
    from PIL.ExifTags import Base

    try:
        with _quiet():
            orientation = image.getexif().get(Base.Orientation)
    except Exception as error:  # a photo with broken metadata is still a photo
        _log.warning("%s has unreadable EXIF data (%s): taken as upright", name, error)
        return 1
    return orientation if isinstance(orientation, int) else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """An image without metadata, turned as Pillow turns those of this orientation."""
    from PIL import ImageOps
    from PIL.ExifTags import Base

    if orientation == 1:
        return image
    image.getexif()[Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def _turned_values(values: np.ndarray, orientation: int) -> np.ndarray:
    """An array `(H, W)` or `(H, W, bands)` turned likewise: Pillow turns an image of its positions."""
    import numpy as np
    from PIL import Image

    if orientation == 1:
        return values
    positions = np.arange(values.shape[0] * values.shape[1], dtype=np.int32)
    turned = _turned(Image.fromarray(positions.reshape(values.shape[:2])), orientation)
    upright: np.ndarray = values.reshape(len(positions), *values.shape[2:])[np.asarray(turned)]
    return upright


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        import numpy as np
        from PIL import Image

        image = Image.fromarray(drawn(np.asarray(image), name, file_bits(image)))
    if image.has_transparency_data:
        return _on_white(image, name)
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise ValueError(f"{name} has mode {image.mode}: convert it to RGB first ({error})") from error


def _on_white(image: Image.Image, name: str) -> Image.Image:
    from PIL import Image

    rgba = image.convert("RGBA")
    lowest = rgba.getchannel("A").getextrema()[0]
    if isinstance(lowest, (int, float)) and lowest < 255:
        _log.warning("%s is partly transparent: composited on white", name)
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _checked(array: np.ndarray, raw: bool) -> np.ndarray:
    """`array`, if it is a photo `(H, W)` or `(H, W, c)` of numbers; else an error that says how to make it so."""
    import numpy as np

    wanted = "expected a numpy array (H, W) or (H, W, 3), got"
    if array.dtype.kind not in "buif":
        raise TypeError(f"{wanted} {array.dtype}: a photo has numbers")
    grey_or_colour = array.ndim == 2 or array.ndim == 3 and (raw or array.shape[2] in (1, 3))
    if not grey_or_colour:
        raise ValueError(f"{wanted} shape {array.shape}{_shape_hint(array.shape)}")
    if 0 in array.shape:
        raise ValueError(f"{wanted} shape {array.shape}: a photo needs at least one pixel each way")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ValueError(f"the array {_too_large()}")
    return np.ascontiguousarray(array)


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[0] == 3:
        return ": array.transpose(1, 2, 0) puts the channels last"
    if len(shape) == 3 and shape[2] == 4:
        return (
            ": PIL.Image.fromarray(array) keeps the transparency, array[:, :, :3] drops it; raw=True, of "
            "captioner, vqa and classifier, hands all bands to preprocess"
        )
    if len(shape) == 3:
        return ": models made with raw=True hand all bands to their preprocess"
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
        raise ValueError(
            f"{name} is no image that Pillow can read as {', '.join(FORMATS)}: save it as JPEG or PNG (HEIC photos too)"
        ) from None
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
