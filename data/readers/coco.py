"""Reader for COCO (Lin et al., ECCV 2014): photos with captions (`captions_val2017.json`) and boxes of 80 categories
(`instances_val2017.json`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .voc_annotation import Box

# Words for people in captions, which hardly ever say COCO's "person".
_PEOPLE = """
    adult baby batter boy catcher child couple crowd family girl group guy kid lady man men passenger pedestrian people person
    player rider skateboarder skier snowboarder surfer toddler woman women
"""
_ALSO_CALLED = {
    "person": frozenset(_PEOPLE.split()),
    "airplane": frozenset({"plane", "jet"}),
    "bicycle": frozenset({"bike"}),
    "cell phone": frozenset({"phone", "cellphone"}),
    "couch": frozenset({"sofa"}),
    "dining table": frozenset({"table"}),
    "donut": frozenset({"doughnut"}),
    "motorcycle": frozenset({"motorbike"}),
    "potted plant": frozenset({"plant"}),
    "sports ball": frozenset({"ball"}),
    "teddy bear": frozenset({"teddy"}),
    "tv": frozenset({"television"}),
}


@dataclass(frozen=True)
class CocoObject:
    """Objects of one category on a photo.

    Attributes:
        names: Nouns that captions use for the category.
        boxes: Boxes in fractions of the photo.
        type: Supercategory.
        group: Category; distinguishes the objects of one photo.
    """

    names: frozenset[str]
    boxes: tuple[Box, ...]
    type: str
    group: str


def read_coco(captions: Path, instances: Path) -> Iterator[tuple[str, tuple[str, ...], tuple[CocoObject, ...]]]:
    """Yield file name, captions and objects of every photo with captions, in the order of the captions file; without crowds.

    Objects of one category are merged, because a caption does not say which of three chairs it means. Raises ValueError for a
    truncated file.
    """
    told, drawn = _load(captions, "images", "annotations"), _load(instances, "images", "annotations", "categories")
    texts: dict[int, list[str]] = defaultdict(list)
    for annotation in told["annotations"]:
        texts[annotation["image_id"]].append(" ".join(annotation["caption"].split()))
    kinds = {kind["id"]: (kind["name"], kind.get("supercategory", "")) for kind in drawn["categories"]}
    boxes: dict[int, dict[int, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for annotation in drawn["annotations"]:
        if not annotation.get("iscrowd"):
            boxes[annotation["image_id"]][annotation["category_id"]].append(annotation["bbox"])
    for image in told["images"]:
        if texts[image["id"]]:
            things = tuple(_thing(*kinds[kind], found, image) for kind, found in boxes[image["id"]].items())
            yield image["file_name"], tuple(texts[image["id"]]), tuple(thing for thing in things if thing.boxes)


def _thing(name: str, kind: str, found: list[list[float]], image: dict[str, Any]) -> CocoObject:
    names = frozenset({name, name.replace(" ", "")}) | _ALSO_CALLED.get(name, frozenset())
    boxes = (_box(*box, width=image["width"], height=image["height"]) for box in found)
    return CocoObject(names, tuple(box for box in boxes if box[0] < box[2] and box[1] < box[3]), kind, name)


def _box(x: float, y: float, w: float, h: float, *, width: int, height: int) -> Box:
    """Convert COCO's corner and size in pixels to fractions; a few boxes exceed the photo by a rounding error and are clipped."""
    x0, y0, x1, y1 = x / width, y / height, (x + w) / width, (y + h) / height
    return max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)


def _load(path: Path, *wanted: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not whole JSON ({error}): fetch it again") from None
    missing = [key for key in wanted if not isinstance(found, dict) or key not in found]
    if missing:
        raise ValueError(f"{path}: expected COCO's {', '.join(wanted)}, missing: {', '.join(missing)}")
    return dict(found)
