"""Fonts for the words of a figure: what the default font lacks is looked for on the system and in installed packages."""

from __future__ import annotations

import functools
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from matplotlib import font_manager, rcParams
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from ..core.graphemes import JOINER, VARIATIONS, split_graphemes

SUFFIXES = (".ttf", ".otf", ".ttc")
PASSED_OVER = ("last resort", "color emoji", "stix")  # boxes, bitmaps, mathematics
PREFERRED = ("noto sans", "source han sans", "wenquanyi", "microsoft yahei", "pingfang", "hiragino sans", "ipaexgothic")
SUBSTITUTE = "\ufffd"
ADVICE = 'pip install "multimodal-cam[fonts]", or install a font that has them; HTML pages show them in any case'


@dataclass(frozen=True)
class FittedFonts:
    """Font families that have the characters of some texts between them, the default first, and what no font here has."""

    families: tuple[str, ...]
    lacking: frozenset[str]

    def text(self, text: str) -> str:
        """`text` with a sign in place of what no font has."""
        return _without(text, self.lacking) if self.lacking else text


def fonts_for(texts: Iterable[str]) -> FittedFonts:
    """Fonts for `texts`; what none has is said in one warning."""
    families = list(rcParams["font.family"])
    lacking = {character for text in texts for character in set(text) if not _is_invisible(character)}
    lacking -= default_characters()
    for family, found in _choose(frozenset(lacking)) if lacking else ():
        families.append(family)
        lacking -= found
    if lacking:
        warnings.warn(f"figure: no font here has {_listed(lacking)}, drawn as {SUBSTITUTE}: {ADVICE}", UserWarning, stacklevel=4)
    return FittedFonts(tuple(families), frozenset(lacking))


def default_font() -> str:
    """File of the font that figures are written in."""
    return font_manager.findfont(font_manager.FontProperties(family=rcParams["font.family"]))


def default_characters() -> frozenset[str]:
    """Characters that the default font has."""
    return _characters(default_font())


def fit_fonts(figure: Figure) -> None:
    """Give the texts of a figure fonts that have their characters; what none has becomes a sign, and is said once."""
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    fonts = fonts_for(text.get_text() for text in texts)
    if list(fonts.families) == list(rcParams["font.family"]) and not fonts.lacking:
        return
    for text in texts:
        text.set_fontfamily(list(fonts.families))
        text.set_text(fonts.text(text.get_text()))


def _without(text: str, characters: Set[str]) -> str:
    """The text with one sign for each run of what holds any of `characters`."""
    kept: list[str] = []
    for grapheme in split_graphemes(text):
        if characters.isdisjoint(grapheme):
            kept.append(grapheme)
        elif kept[-1:] != [SUBSTITUTE]:
            kept.append(SUBSTITUTE)
    return "".join(kept)


def _is_invisible(character: str) -> bool:
    return character in JOINER + VARIATIONS or unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _listed(characters: Set[str]) -> str:
    shown = sorted(characters)[:5]
    return " ".join(shown) + (f" and {len(characters) - 5} more" if len(characters) > 5 else "")


def _choose(lacking: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Families that have the characters, as few as can be: those of the system first, then those of packages."""
    for fonts in (_system_fonts, _packaged_fonts):
        covers = {family: lacking & _characters(path) for family, path in fonts().items()} if lacking else {}
        while lacking and covers:
            family = max(covers, key=lambda name: len(covers[name] & lacking))
            found = covers.pop(family) & lacking
            if not found:
                break
            lacking -= found
            yield family, found


@functools.cache
def _system_fonts() -> dict[str, str]:
    """Upright regular fonts that matplotlib knows, well-known ones first: `family -> file`."""
    entries = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not any(part in entry.name.lower() for part in PASSED_OVER)
    ]
    entries.sort(key=lambda entry: (not entry.name.lower().startswith(PREFERRED), abs(_weight(entry) - 400)))
    found: dict[str, str] = {}
    for entry in entries:
        found.setdefault(entry.name, entry.fname)
    return found


def _weight(entry: Any) -> int:
    weights = {"normal": 400, "regular": 400, "light": 300, "medium": 500, "bold": 700}
    return entry.weight if isinstance(entry.weight, int) else weights.get(entry.weight, 900)


@functools.cache
def _packaged_fonts() -> dict[str, str]:
    """Fonts that come with installed Python packages, made known to matplotlib: `family -> file`."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    found: dict[str, str] = {}
    for distribution in distributions():
        for file in distribution.files or ():
            if file.suffix.lower() not in SUFFIXES:
                continue
            path = str(Path(str(file.locate())))
            if path in known or "italic" in path.lower():
                continue
            try:
                font_manager.fontManager.addfont(path)
                found.setdefault(FT2Font(path).family_name, path)
            except (OSError, RuntimeError):  # a file that is not there, or no font
                continue
    return found


@functools.cache
def _characters(path: str) -> frozenset[str]:
    """The characters that a font file has glyphs for; none if it cannot be read."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
