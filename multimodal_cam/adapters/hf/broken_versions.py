"""Families that a version of transformers breaks by itself: data, and an error that says so instead of the library's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet


class BrokenVersionError(ImportError):
    """The installed transformers cannot run this family, whoever calls it; another version can."""


@dataclass(frozen=True)
class Broken:
    """An entry: in the versions of transformers that `versions` takes in, `architecture` fails, and `install` is what helps."""

    family: str
    architecture: str
    versions: str  # a specifier
    fault: str  # what happens in transformers' own code
    install: str  # what pip is told

    def error(self, version: str) -> BrokenVersionError:
        return BrokenVersionError(
            f"transformers {version} breaks {self.family} ({self.architecture}) itself: {self.fault}. "
            f"pip install '{self.install}'"
        )


BROKEN: tuple[Broken, ...] = (
    Broken(
        "Llama 4",
        "Llama4ForConditionalGeneration",
        "==5.24.*",
        "its forward() reads `image_outputs` of what its language model returns, which has none (AttributeError)",
        "transformers!=5.24.*",
    ),
)


def broken(architecture: str, version: str) -> Broken | None:
    """The entry for `architecture` in `version` of transformers, pre-releases included; None where none is known."""
    for entry in BROKEN:
        if entry.architecture == architecture and SpecifierSet(entry.versions).contains(version, prereleases=True):
            return entry
    return None


def check(architectures: Iterable[str], version: str) -> None:
    """Raises BrokenVersionError if one of them is broken in `version`."""
    for architecture in architectures:
        if (entry := broken(architecture, version)) is not None:
            raise entry.error(version)
