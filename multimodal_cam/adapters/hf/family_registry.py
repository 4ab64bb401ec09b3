"""Registry of families: the spec that a checkpoint's `config.json` leads to. Each file of `families` declares its own."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from . import families
from .family_spec import FamilySpec
from .generic_family import GENERIC

OLDEST = "5.21"  # the oldest supported version of transformers, as in pyproject.toml
TESTED = "5.23"  # the version of transformers that the tests run with


def _declared() -> Iterator[FamilySpec]:
    """The `SPECS` of every module of `families`."""
    for module in pkgutil.iter_modules(families.__path__):
        yield from import_module(f"{families.__name__}.{module.name}").SPECS


FAMILIES: tuple[FamilySpec, ...] = tuple(sorted(_declared(), key=lambda spec: spec.name.casefold()))


def family_of(config: Mapping[str, Any], where: str, *, generates: bool = False) -> FamilySpec:
    """Family of a `config.json`; `GENERIC` for an architecture of no family, if its class exists and `generates` text.

    Raises ValueError that names the nearest family, or says that the model sees no photos.
    """
    architectures = config.get("architectures") or []
    for family in FAMILIES:
        if set(architectures) & set(family.architectures):
            return family
    named = architectures[0] if architectures else str(config.get("model_type"))
    known = {architecture: family.name for family in FAMILIES for architecture in family.architectures}
    near = difflib.get_close_matches(named, known, n=3, cutoff=0.5)
    hint = f"near: {', '.join(near)}" if near else f"known are {', '.join(sorted(known))}"
    if not any(key.startswith(("vision", "image", "encoder", "qformer")) for key in config):
        raise ValueError(f"{where} holds {named}, which sees no photos (no vision_config in its config.json); {hint}")
    if generates:
        return GENERIC
    raise ValueError(
        f"{where} holds {named}, for which there is no adapter; {hint}. Your own: load('module:function'), "
        "see docs/how-to/family.md"
    )
