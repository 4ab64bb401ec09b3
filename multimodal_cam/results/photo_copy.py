"""A photo at display size, in place of the lossless one in the folders of a batch, and how the photo itself is known again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..core.errors import BrokenFile
from ..core.images import load_image
from ..core.json_object import JSONObject

if TYPE_CHECKING:
    from PIL import Image

    from ..core.images import ImageSource

ORIGINAL = "original"  # in the manifest: size and fingerprint of the photo that was explained


@dataclass(frozen=True)
class PhotoCopy:
    """A copy at display size.

    Attributes:
        content: A JPEG file, without the photo's metadata.
        size: Width and height of the photo itself, in pixels.
        fingerprint: SHA-256 of its pixels.
    """

    content: bytes
    size: tuple[int, int]
    fingerprint: str

    def record(self) -> dict[str, Any]:
        """What the manifest says of the photo itself."""
        return {ORIGINAL: {"width": self.size[0], "height": self.size[1], "sha256": self.fingerprint}}


def fingerprint(image: Image.Image) -> str:
    """SHA-256 of an image's mode, size and pixels."""
    digest = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def with_copy(fields: dict[str, Any], manifest: JSONObject) -> dict[str, Any]:
    """Fields of an explanation whose image is the copy; its provenance says so."""
    original = manifest.object(ORIGINAL)
    said = f"display copy of a photo of {original.integer('width', 1)} x {original.integer('height', 1)} pixels"
    return fields | {"provenance": fields["provenance"] | {"image": said}}


def with_photo(fields: dict[str, Any], manifest: JSONObject, source: ImageSource) -> dict[str, Any]:
    """Fields of an explanation with the photo itself in place of the copy.

    Raises BrokenFile for another photo than the one that was explained.
    """
    original, image = manifest.object(ORIGINAL), load_image(source)
    if fingerprint(image) != original.text("sha256"):
        size = f"{original.integer('width', 1)} x {original.integer('height', 1)} pixels"
        path = getattr(image, "filename", None) or "photo"
        raise BrokenFile(path, f"the photo that was explained, {size}", "another one", "give that photo, or load without photo=")
    placement = replace(fields["placement"], width=image.width, height=image.height)
    return fields | {"image": image, "placement": placement}
