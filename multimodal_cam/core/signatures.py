"""Signatures: which folders this library wrote, of what kind, and what in them is its own. A leaf.

A folder of ours holds the hidden file `.multimodal-cam`, JSON lines: a head with the kind, then one entry for each thing that
was written. Entries may be appended while a folder grows; of two with the same name the last holds, and half a line at the end
(a killed run) is left out. Whatever no entry names belongs to somebody else: it is never replaced and never deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .drafts import DRAFT, LOCK

SIGNATURE = ".multimodal-cam"
FORMAT = 1


@dataclass(frozen=True)
class Signature:
    """What `.multimodal-cam` says.

    Attributes:
        kind: What the folder is: "explanation", "report", "study", "model".
        entries: Path below the folder -> sha256; None for a file that may still grow. A path that ends with "/" is a
            folder with a signature of its own.
    """

    kind: str
    entries: Mapping[str, str | None]


def read_signature(folder: Path) -> Signature | None:
    """The folder's signature; None where there is none, or none that this version reads."""
    path = folder / SIGNATURE
    if not path.is_file() or path.is_symlink():
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found = [entry for line in lines if (entry := _parsed(line)) is not None]
    if not found or found[0].get("format") != FORMAT or not isinstance(found[0].get("kind"), str):
        return None
    entries = {entry["name"]: entry.get("sha256") for entry in found[1:] if _is_inside(entry.get("name"))}
    return Signature(found[0]["kind"], entries)


def kind_of(folder: Path) -> str | None:
    """The kind of a folder of ours; None for anybody else's."""
    signature = read_signature(folder)
    return None if signature is None else signature.kind


def write_signature(folder: Path, kind: str) -> None:
    """Sign a folder in which nothing but ours lies: every file with its hash, folders with a signature by their names."""
    entries: dict[str, str | None] = {}
    for name in _files_below(folder):
        entries[name] = None if name.endswith("/") else sha256(folder / name)
    start_signature(folder, kind)
    append_entries(folder, entries)


def start_signature(folder: Path, kind: str) -> None:
    """A signature without entries, for a folder that will grow."""
    (folder / SIGNATURE).write_text(json.dumps({"format": FORMAT, "kind": kind}) + "\n", encoding="utf-8")


def append_entries(folder: Path, entries: Mapping[str, str | None]) -> None:
    """Add to the signature of a growing folder what will be written: a killed run leaves nothing without a name."""
    lines = "".join(
        json.dumps({"name": name} | ({"sha256": digest} if digest else {})) + "\n" for name, digest in entries.items()
    )
    with (folder / SIGNATURE).open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # half a line, of a full disk
                lines = "\n" + lines
        file.write(lines.encode())


def own_files(folder: Path) -> dict[str, str | None]:
    """Files that we wrote, here and in signed folders below: path below `folder` -> sha256, None for one that may still grow."""
    signature = read_signature(folder)
    if signature is None:
        return {}
    files: dict[str, str | None] = {SIGNATURE: None}
    for name, digest in signature.entries.items():
        if not name.endswith("/"):
            files[name] = digest
        elif not (folder / name).is_symlink():
            files |= {name + below: value for below, value in own_files(folder / name).items()}
    return files


def changed_files(folder: Path) -> list[str]:
    """Files that we wrote and somebody has changed or replaced since, as paths below `folder`."""
    return [name for name, digest in own_files(folder).items() if _is_changed(folder / name, digest)]


def foreign_names(folder: Path) -> list[str]:
    """What lies directly in the folder and is not ours, and folders of ours in which something lies that is not."""
    files = own_files(folder)
    own = {name.split("/")[0] for name in files} | {LOCK, DRAFT}
    found = {path.name for path in folder.iterdir() if path.name not in own}
    for name in {name.split("/")[0] for name in files if "/" in name}:
        paths = (path for path in (folder / name).rglob("*") if path.name != LOCK and not path.is_dir())
        below = (path.relative_to(folder).as_posix() for path in paths)
        if (folder / name).is_symlink() or any(path not in files for path in below):
            found.add(name)
    return sorted(found)


def remove_own_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of ours, then the folders below `folder` that this leaves empty."""
    parents: set[Path] = set()
    for name in names:
        path = folder / name
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        parents |= {folder / parent for parent in PurePosixPath(name).parents if parent.name}
    for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        if parent.is_dir() and not parent.is_symlink() and not any(parent.iterdir()):
            parent.rmdir()


def sha256(path: Path) -> str:
    """The file's sha256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_below(folder: Path, prefix: str = "") -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = prefix + entry.name
        if entry.name in (LOCK, DRAFT) or name == SIGNATURE:
            continue
        if not entry.is_dir(follow_symlinks=False):
            yield name
        elif (Path(entry.path) / SIGNATURE).is_file():
            yield f"{name}/"
        else:
            yield from _files_below(Path(entry.path), f"{name}/")


def _is_changed(path: Path, digest: str | None) -> bool:
    if not os.path.lexists(path):
        return False
    if path.is_symlink() or not path.is_file():
        return True
    return digest is not None and sha256(path) != digest


def _is_inside(name: object) -> bool:
    """Whether the name of an entry is a path below the folder: a signature from elsewhere may name anything."""
    if not isinstance(name, str) or not name.strip("/") or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
