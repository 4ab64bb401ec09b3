"""Names of the folders that a batch writes: made of photo and question, short enough for every file system, each once."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from .batch_settings import BatchItem

PHOTO_BYTES, QUESTION_BYTES = 70, 60  # of a name, which may have 143 bytes on encrypted disks, 255 elsewhere
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|index.*|shards|results|run)$")  # by Windows, and by ourselves


def folder_names(items: Sequence[BatchItem], taken: Mapping[BatchItem, str], foreign: Iterable[str] = ()) -> dict[BatchItem, str]:
    """A folder name for every item; items in `taken` keep theirs, and names in `foreign` are somebody else's.

    A photo is named by its stem and, with a question, by the question's words. Where two would be called the same, the later one
    also gets the name of the photo's folder, or else six digits of a hash of its path and question, so that names do not
    depend on how often a batch was begun.
    """
    names = dict(taken)
    used = {_folded(name) for name in (*taken.values(), *foreign)}
    for item in items:
        if item not in names:
            names[item] = _free_name(item, used)
            used.add(_folded(names[item]))
    return names


def _free_name(item: BatchItem, used: Collection[str]) -> str:
    photo, question = Path(item.image), item.question or ""
    parent = photo.absolute().parent.name
    said = f"-{_cut(_words(question), QUESTION_BYTES)}" if question else ""
    plain = _cut(_printable(photo.stem), PHOTO_BYTES) or "photo"
    candidates = [plain + said, f"{_cut(f'{_printable(parent)}-{plain}', PHOTO_BYTES)}{said}"]
    for length in (6, 12, 64):
        digest = hashlib.sha256(repr((item.image, item.question)).encode("utf-8", "surrogateescape")).hexdigest()
        candidates.append(f"{plain}{said}-{digest[:length]}")
    return next(name for name in candidates if _folded(name) not in used and not RESERVED.match(_folded(name)))


def _words(text: str) -> str:
    """The words of a text, joined by hyphens."""
    return "-".join(re.findall(r"[^\W_]+", text)) or "question"


def _printable(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "_" for c in text).strip(". ")


def _cut(text: str, limit: int) -> str:
    """The text, cut to `limit` bytes of UTF-8 between two characters."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").strip(". -")


def _folded(name: str) -> str:
    """What file systems that ignore case, or the form of an accent, take a name for."""
    return unicodedata.normalize("NFC", name).casefold()
