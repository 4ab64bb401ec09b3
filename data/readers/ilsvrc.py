"""Reader for ILSVRC's localisation task (Russakovsky et al., IJCV 2015), in the layout of its archives.

`Data/CLS-LOC/<subset>/` holds the photos (those of `train` in a folder for each class), `Annotations/CLS-LOC/<subset>/` an XML
file of boxes for each, and `LOC_synset_mapping.txt` the classes in the order of a network's outputs, a WordNet id and names a
line. All may lie in a folder `ILSVRC`, as Kaggle's archive has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...core.json_object import read_utf8
from .voc_annotation import Box, read_objects

CLASSES = "LOC_synset_mapping.txt"
PHOTOS = {".jpeg", ".jpg", ".png"}


@dataclass(frozen=True)
class LocalizedPhoto:
    """A photo, and the boxes of the classes on it by WordNet id, in fractions of its sides."""

    image: Path
    boxes: dict[str, tuple[Box, ...]]


def read_classes(folder: Path) -> tuple[str, ...]:
    """WordNet ids in the order of `LOC_synset_mapping.txt`. Raises FileNotFoundError without it, ValueError for doubles."""
    path = next((place / CLASSES for place in (folder, folder / "ILSVRC") if (place / CLASSES).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {CLASSES}, which says in what order a network's outputs are")
    ids = tuple(line.split()[0] for line in read_utf8(path).splitlines() if line.strip())
    if len(set(ids)) < len(ids):
        raise ValueError(f"{path}: expected each class once, got {len(ids)} lines with {len(set(ids))} classes")
    return ids


def read_photos(folder: Path, subset: str = "val", limit: int | None = None) -> list[LocalizedPhoto]:
    """The photos of a subset that have an annotation with boxes, in the order of their names, at most `limit`.

    Raises FileNotFoundError if the folders are missing, ValueError for a malformed annotation, or if no photo has one.
    """
    root = folder if (folder / "Data").is_dir() else folder / "ILSVRC"
    photos, annotations = (root / part / "CLS-LOC" / subset for part in ("Data", "Annotations"))
    for place in (photos, annotations):
        if not place.is_dir():
            raise FileNotFoundError(
                f"expected ILSVRC's folder {place}, there is none: --ilsvrc takes the folder that holds Data/CLS-LOC"
            )
    found = list(islice(_annotated(photos, annotations), limit))
    if not found:
        raise ValueError(f"no photo in {photos} has boxes in {annotations}")
    return found


def _annotated(photos: Path, annotations: Path) -> Iterator[LocalizedPhoto]:
    for image in sorted(path for path in photos.rglob("*") if path.suffix.lower() in PHOTOS):
        xml = annotations / image.relative_to(photos).with_suffix(".xml")
        boxes: dict[str, tuple[Box, ...]] = {}
        for names, drawn in read_objects(xml) if xml.is_file() else ():
            for name in names:
                boxes[name] = (*boxes.get(name, ()), *drawn)
        if any(boxes.values()):
            yield LocalizedPhoto(image, boxes)
