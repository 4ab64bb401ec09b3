"""What the configuration of a checkpoint may ask for: classes of transformers, sizes of this world, and nothing from a hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...core.errors import BrokenFile, shown
from ...core.json_object import read_json, read_object

ADVICE = "download the checkpoint again, or correct the file"
FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "generation_config.json", "adapter_config.json")
HUB = re.compile(r"\s*(hf[-_]hub|local[-_]dir|hf|timm|https?|ftp|s3|gs|file):", re.IGNORECASE)
NETWORKS = ("architecture", "backbone", "encoder", "model_name", "vision_tower", "mm_vision_tower")  # keys that name a network
DEEP = re.compile(r"(^|_)(layers|blocks|depths?|num_layers|stages)$")
MOST_LAYERS = 1000
LARGEST = 2**28  # of sizes, in units, tokens or pixels; the largest vocabulary has 2**19 tokens
LARGEST_SIDE = 2**14  # pixels
SIDES = ("height", "width", "image_size")


def check_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json`, after a look at its other files.

    Raises BrokenFile for what is no JSON, names networks on a hub (only what was named to `load` is fetched), asks for sizes past
    any network's, or names classes that are no names.
    """
    config = read_object(folder / "config.json", ADVICE)
    config.text("model_type")
    if config.values.get("architectures") is not None:
        config.texts("architectures")
    for name in FILES:
        if (folder / name).is_file():
            _check_values(read_json(folder / name, ADVICE), folder / name)
    return dict(config.values)


def model_class_of(library: Any, names: Any) -> Any:
    """The first of transformers' model classes among the names of a config; None where there is none.

    `library` is the module transformers, which has many other names, too.
    """
    for name in names or ():
        found = getattr(library, name, None)
        if isinstance(found, type) and issubclass(found, library.PreTrainedModel):
            return found
    return None


def _check_values(values: Any, path: Path) -> None:
    for place, value in _leaves(values):
        key = next((part for part in reversed(place.split(".")) if not part.isdigit()), "")
        if isinstance(value, str) and key in NETWORKS and HUB.match(value):
            raise BrokenFile(path, f"{place} as a network's name", f"{shown(value)}, for which a hub would be asked", ADVICE)
        if key == "use_pretrained_backbone" and value is True:
            raise BrokenFile(path, f"{place} as false", "true, for which a hub would be asked", ADVICE)
        if isinstance(value, bool) or not isinstance(value, int):
            continue
        most = MOST_LAYERS if DEEP.search(key) else LARGEST_SIDE if key in SIDES else LARGEST if _is_size(key) else None
        if most is not None and abs(value) > most:
            raise BrokenFile(path, f"{place} of at most {most:,}", shown(value), ADVICE)


def _is_size(key: str) -> bool:
    return bool(re.search(r"(size|dim|dims|width|channels|heads|positions|embeddings|experts|tokens|edge|labels)$", key))


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Place and value of all that is no object and no list."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _leaves(below, f"{place}.{number}")
    else:
        yield place, value
