"""Objects and their boxes in XML as PASCAL VOC, ILSVRC and Flickr30k Entities have it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

Box = tuple[float, float, float, float]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_objects(path: Path) -> Iterator[tuple[list[str], list[Box]]]:
    """Yield the names of each object (one, or the chains that it is part of) and its boxes in fractions of the photo's sides.

    Raises ValueError, with the file and what is wrong, for XML that is malformed, or boxes beyond the photo's `<size>`.
    """
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:  # its message holds line and column
        raise ValueError(f"{path} is not well-formed XML: {error}") from None
    size = root.find("size")
    if size is None:
        raise ValueError(f"{path}: expected <size> with the photo's <width> and <height>")
    width, height = (_number(size, tag, path) for tag in ("width", "height"))
    if min(width, height) <= 0:
        raise ValueError(f"{path}: a photo of {width:g} x {height:g} pixels")
    for thing in root.iter("object"):
        boxes = [_read_box(box, width, height, path) for box in thing.findall("bndbox")]
        yield [(name.text or "").strip() for name in thing.findall("name")], boxes


def _read_box(element: ET.Element, width: float, height: float, path: Path) -> Box:
    x0, y0, x1, y1 = (_number(element, tag, path) for tag in _CORNERS)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        box = f"{x0:g} {y0:g} {x1:g} {y1:g}"
        raise ValueError(f"{path}: a box {box} does not lie on a photo of {width:g} x {height:g} pixels")
    return x0 / width, y0 / height, x1 / width, y1 / height


def _number(element: ET.Element, tag: str, path: Path) -> float:
    text = element.findtext(tag)
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{path}: expected a number in <{element.tag}><{tag}>, got {text!r}") from None
