"""Hidden drafts of folders and the locks of their writers; names that are free and short enough. A leaf.

A draft has a name that follows from its target's: the next run for the same target finds what a killed one left, and clears it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".multimodal-cam.lock"  # held while somebody writes into the folder
DRAFT = ".multimodal-cam.draft"  # hidden folder in which something is written before it gets its place
COMMITTED = ".committed"  # in a draft: it is whole, and old files, which are listed there, are being replaced
NAME_BYTES = 255  # the longest file name of Linux, macOS and Windows


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that grows, for this process. Raises BlockingIOError when another one has it."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(said_busy(folder)) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_draft(target: Path) -> Iterator[Path]:
    """The draft of `target`, empty and locked; removed after an error, unless old files are being replaced already."""
    draft = _draft_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquired(draft, target)
    except BlockingIOError:
        raise
    except OSError as error:
        raise retold(error, f"cannot write to {str(target)!r} ({error.strerror}): choose another folder") from error
    try:
        _clear(draft)
        yield draft
    except BaseException:
        if not (draft / COMMITTED).exists():
            shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        lock.release()


def clear_drafts(folder: Path) -> None:
    """Remove the drafts that killed runs left in a folder which this process has locked."""
    for draft in folder.glob(f".*{DRAFT}"):
        if draft.is_dir() and not draft.is_symlink() and not _is_busy(draft):
            shutil.rmtree(draft)


def unused(folder: Path) -> Path:
    """`folder`, or the first of `folder-2`, `folder-3` that is not there and that nobody is writing."""
    candidate, number = folder, 1
    while os.path.lexists(candidate) or _is_busy(_draft_of(candidate)):
        number += 1
        candidate = folder.with_name(f"{cut_name(folder.name, NAME_BYTES - 8)}-{number}")
    return candidate


def cut_name(name: str, limit: int = NAME_BYTES) -> str:
    """The name, cut to at most `limit` bytes of UTF-8 between two characters."""
    return name.encode("utf-8", "surrogateescape")[:limit].decode("utf-8", "ignore")


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _acquired(draft: Path, target: Path) -> FileLock:
    """The draft's lock. The file is looked for again: the draft that held it may have been published a moment ago."""
    while True:
        lock = FileLock(draft / LOCK, timeout=0)  # makes the draft where it is missing
        try:
            lock.acquire()
        except Timeout:
            raise BlockingIOError(said_busy(target)) from None
        if (draft / LOCK).exists():
            return lock
        lock.release()


def _draft_of(target: Path) -> Path:
    """The hidden folder for what will stand at `target`: in it, if it is there (perhaps a file system of its own), or beside."""
    if target.is_dir():
        return target / DRAFT
    name = f".{target.name}{DRAFT}"
    if len(os.fsencode(name)) > NAME_BYTES:
        digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
        name = f".{cut_name(target.name, 100)}-{digest}{DRAFT}"
    return target.parent / name


def _is_busy(draft: Path) -> bool:
    """Whether a living process writes into the draft; one of a killed run may be taken over."""
    if not (draft / LOCK).is_file():
        return False
    lock = FileLock(draft / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def _clear(draft: Path) -> None:
    """Remove what a killed run left in its draft, all but the lock."""
    for path in draft.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def retold(error: OSError, text: str) -> OSError:
    """An error of the same class and errno that says `text`."""
    told = type(error)(text)
    told.errno = error.errno
    return told


def said_busy(folder: Path) -> str:
    return f"another process is writing to {str(folder)!r}: wait for it, or choose another folder"
