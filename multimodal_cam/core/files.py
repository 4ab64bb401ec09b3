"""Which files are photos, folders that appear whole or not at all, and what is in a file. A leaf."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

RECORDS = "results.jsonl"  # marks a folder as a report of ours
FULL = (errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".dcm"})


def photos_in(arguments: Sequence[str]) -> list[str]:
    """Files as they are; folders as the photos in them and below, sorted by path.

    In folders, files count by their suffix (`SUFFIXES`); hidden ones and saved explanations are left out.
    Raises ValueError for a folder without photos.
    """
    photos: list[str] = []
    for argument in arguments:
        if not Path(argument).is_dir():
            photos.append(argument)
            continue
        found = sorted(str(path) for path in _walk(Path(argument)))
        if not found:
            raise ValueError(f"no photos in {argument!r}: looked for {', '.join(sorted(SUFFIXES))}")
        photos += found
    return photos


def _walk(folder: Path) -> Iterator[Path]:
    if (folder / "manifest.json").is_file() or (folder / RECORDS).is_file():
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


@contextmanager
def whole_or_nothing(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder whose content stands in `target` in the end; after an error there is nothing of it.

    Raises FileExistsError when `target` holds something (with `overwrite`: something that is no report), and
    OSError when nothing can be written there.
    """
    _check(target, overwrite)
    partial: Path | None = None
    try:
        with replaced_folder(target) as partial:
            yield partial
    except OSError as error:
        if partial is None:
            raise OSError(f"cannot write to {str(target)!r} ({error.strerror}): choose another folder") from error
        if error.errno in FULL:
            raise OSError(
                f"cannot write to {str(target)!r} ({error.strerror}), so nothing was written: "
                "free some space or choose another folder"
            ) from error
        raise


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """A hidden folder whose content replaces that of `target` in the end, whatever it was; after an error nothing has changed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # inside a folder that exists: it may be a file system of its own
    beside = target if target.is_dir() else target.parent
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name[:80]}-", dir=beside))
    try:
        yield partial
        _publish(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _publish(partial: Path, target: Path) -> None:
    if not target.is_dir():
        partial.chmod(0o755)
        partial.rename(target)
        return
    for old in target.iterdir():
        if old.is_dir() and not old.is_symlink() and old != partial:
            shutil.rmtree(old)
        elif old != partial:
            old.unlink()
    for new in partial.iterdir():
        new.rename(target / new.name)
    partial.rmdir()


def _check(target: Path, overwrite: bool) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.is_dir() and overwrite:
        if not (target / RECORDS).is_file():
            raise FileExistsError(f"{str(target)!r} holds other things than a report of ours: choose another folder")
    elif target.exists():
        raise FileExistsError(f"{str(target)!r} is not empty: choose another folder, or overwrite it")


def sha256(path: Path) -> str:
    """The file's sha256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unused(folder: Path) -> Path:
    """`folder`, or the first of `folder-2`, `folder-3` that does not exist yet."""
    candidate, number = folder, 1
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
