"""Folders of saved explanations: `image.png`, or `image.jpg` at display size, `maps.safetensors` and `manifest.json`."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..core.errors import BrokenFile, shown
from ..core.files import MANIFEST, MAPS
from ..core.geometry import Placement
from ..core.json_object import read_object
from ..core.publication import finish_publication, new_folder
from ..core.signatures import read_signature, sha256
from ..core.tensor_file import read_tensors
from .explanation_data import ExplanationData
from .manifest import ADVICE, FORMAT, fields_of, manifest_of, tensors_of
from .photo_copy import ORIGINAL, PhotoCopy, with_copy, with_photo

if TYPE_CHECKING:
    from PIL import Image

    from ..core.images import ImageSource

IMAGE, COPY = "image.png", "image.jpg"
PICTURE_FORMATS = {IMAGE: "PNG", COPY: "JPEG"}


def write_explanation(
    explanation: ExplanationData,
    folder: Path,
    *,
    overwrite: bool = False,
    copy: PhotoCopy | None = None,
    more: Callable[[Path], None] | None = None,
) -> Path:
    """Write the folder: it appears whole or not at all, with a signature that lists its files; returns where it stands.

    Args:
        overwrite: Replace an explanation that was saved there; files of others that lie beside it stay.
        copy: The explanation's image, at display size, as a file; without it the image is written lossless.
        more: Writes further files into the folder that it is given, before it appears.

    Raises:
        FileExistsError: `folder` holds something; with `overwrite`: something that is not an explanation of ours.
    """
    with new_folder(folder, "explanation", overwrite=overwrite) as new:
        if copy is None:
            explanation.image.save(new.draft / IMAGE, compress_level=1)
        else:
            (new.draft / COPY).write_bytes(copy.content)
        _write_tensors(tensors_of(explanation), new.draft / MAPS)
        files = {name: sha256(new.draft / name) for name in (COPY if copy else IMAGE, MAPS)}
        original = copy.record() if copy else {}
        manifest = json.dumps(manifest_of(explanation) | original | {"files": files}, indent=1, ensure_ascii=False)
        (new.draft / MANIFEST).write_text(manifest, encoding="utf-8")
        if more is not None:
            more(new.draft)
    return new.path


def read_explanation(folder: Path, photo: ImageSource | None = None) -> dict[str, Any]:
    """Fields of the explanation in `folder`, with its photo as it lies there, or with `photo`, of which it has a copy.

    Raises:
        FileNotFoundError: None was saved there.
        BrokenFile: Files are missing, damaged, changed since, or do not fit; `photo` is another one.
        ValueError: `photo` is given, and the folder has it already.
    """
    finish_publication(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} holds no explanation: {MANIFEST} is missing")
    manifest = read_object(folder / MANIFEST, ADVICE)
    if manifest.values.get("format") != FORMAT:
        raise manifest.broken("format", f"{FORMAT}, which this version reads")
    hashes = manifest.text_table("files")
    name = COPY if ORIGINAL in manifest else IMAGE
    _check_hashes(folder, hashes, {name, MAPS})
    fields = fields_of(manifest, read_tensors(folder / MAPS, ADVICE), folder / MAPS)
    image = _read_image(folder / name)
    placement: Placement = fields["placement"]
    if image.size != (placement.width, placement.height):
        size = f"{placement.width} x {placement.height} pixels"
        raise BrokenFile(folder / name, f"the photo that was explained, {size}", f"{image.width} x {image.height}", ADVICE)
    fields["image"] = image
    if name == COPY:
        return with_copy(fields, manifest) if photo is None else with_photo(fields, manifest, photo)
    if photo is not None:
        raise ValueError(f"photo: {folder} holds its photo in full, as {IMAGE}: load it without photo=")
    return fields


def _check_hashes(folder: Path, hashes: dict[str, str], names: Set[str]) -> None:
    """Raise BrokenFile for a file that is not what was saved: by the manifest's hashes, and the manifest by the signature's."""
    if set(hashes) != names:
        raise BrokenFile(folder / MANIFEST, f"files as hashes of {', '.join(sorted(names))}", shown(sorted(hashes)), ADVICE)
    signature = read_signature(folder)
    signed = None if signature is None else signature.entries.get(MANIFEST)
    for name, digest in [*sorted(hashes.items()), *([(MANIFEST, signed)] if signed else [])]:
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            found = "one that was changed since" if path.exists() else "nothing, it is missing"
            raise BrokenFile(path, "the file that was saved", found, ADVICE)


def _read_image(path: Path) -> Image.Image:
    from PIL import Image

    try:
        with Image.open(path, formats=(PICTURE_FORMATS[path.name],)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise BrokenFile(path, f"a {PICTURE_FORMATS[path.name]} image", f"something else ({error})", ADVICE) from error
    return image


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file that other users may read; a full disk raises OSError, as for every other file."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(errno.ENOSPC, f"{error}", str(path)) from error
    path.chmod(0o644)
