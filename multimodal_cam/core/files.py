"""Which files are photos, in folders and below. A leaf."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from .drafts import listed
from .signatures import kind_of

MANIFEST = "manifest.json"  # of a saved explanation
MAPS = "maps.safetensors"  # among the files that the manifest of a saved explanation gives hashes of
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".dcm"})

_log = logging.getLogger("multimodal_cam")


def photos_in(arguments: Sequence[str]) -> list[str]:
    """Files as they are; folders as the photos in them and below, sorted by path.

    In folders, files count by their suffix (`SUFFIXES`); hidden ones are left out, and so are folders that this library wrote,
    which it says through `logging.getLogger("multimodal_cam")`.
    Raises ValueError for a folder without photos.
    """
    photos: list[str] = []
    for argument in arguments:
        if not Path(argument).is_dir():
            photos.append(argument)
            continue
        left_out: list[Path] = []
        found = sorted(str(path) for path in _walk(Path(argument), left_out))
        if left_out:
            _log.warning("left out what this library wrote itself: %s", listed(sorted(map(str, left_out))))
        if not found:
            raise ValueError(f"no photos in {argument!r}: looked for {', '.join(sorted(SUFFIXES))}")
        photos += found
    return photos


def is_explanation(folder: Path) -> bool:
    """Whether an explanation was saved there: by its signature, or, as older versions wrote none, by its manifest."""
    if kind_of(folder) == "explanation":
        return True
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return MAPS in manifest["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _walk(folder: Path, left_out: list[Path]) -> Iterator[Path]:
    if kind_of(folder) is not None or is_explanation(folder):
        left_out.append(folder)
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, left_out)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path
