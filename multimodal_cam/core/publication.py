"""Folders that appear, or are replaced, whole or not at all, and what two writers of one folder are told.

What is new is written into a hidden draft. A target that is not there yet gets it by one rename. In one that is there, files of
ours are replaced one by one: from the moment the draft holds `COMMITTED`, whoever opens the folder next finishes what a killed
run began, so that it holds the old or the new, whole.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from .drafts import COMMITTED, DRAFT, LOCK, listed, locked_draft, retold, said_busy, unused
from .signatures import SIGNATURE, changed_files, kind_of, own_files, remove_own_files, write_signature

FULL = (errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))
FINISHING_S = 10.0  # how long a reader waits for a writer that is replacing files at this moment

_log = logging.getLogger("multimodal_cam")


@dataclass
class NewFolder:
    """A folder that is being written.

    Attributes:
        draft: Where to write: an empty hidden folder.
        path: Where it will stand; another name than wanted only if somebody took that one meanwhile.
    """

    draft: Path
    path: Path


@contextmanager
def new_folder(target: Path, kind: str, *, overwrite: bool = False) -> Iterator[NewFolder]:
    """A draft that is signed as `kind` and stands at `target` in the end; after an error nothing has changed.

    With `overwrite`, files that an earlier folder of the same kind lists are replaced; whatever else lies there stays.

    Raises:
        FileExistsError: `target` holds something; with `overwrite`: something that is not ours, or of
            another kind, or changed since. All by name.
        BlockingIOError: Another process writes there.
        OSError: Nothing can be written there.
    """
    check_target(target, kind, overwrite=overwrite)
    with locked_draft(target) as draft:
        check_target(target, kind, overwrite=overwrite)  # another process may have finished meanwhile
        folder = NewFolder(draft, target)
        try:
            yield folder
            write_signature(draft, kind)
            folder.path = _publish(draft, target, kind, overwrite)
        except OSError as error:
            if error.errno in FULL:
                cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
                text = f"cannot write to {str(target)!r} ({cause.strerror}), so nothing was written"
                raise retold(error, f"{text}: free some space or choose another folder") from cause
            raise


def check_target(target: Path, kind: str, *, overwrite: bool) -> None:
    """Raise FileExistsError, by name, if something stands at `target` that a new folder of `kind` may not replace."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise FileExistsError(f"{str(target)!r} is no folder: choose another name")
    finish_publication(target)
    there = [path.name for path in target.iterdir() if path.name not in (DRAFT, LOCK)]
    if not there:
        return
    found = kind_of(target)
    if not overwrite:
        raise FileExistsError(f"{str(target)!r} is not empty: choose another folder, or overwrite it")
    if found is None:
        raise FileExistsError(
            f"{str(target)!r} holds other things than {_a(kind)} of ours ({listed(sorted(there))}): choose another folder"
        )
    if found != kind:
        raise FileExistsError(f"{str(target)!r} holds {_a(found)}, not {_a(kind)}: choose another folder")
    if changed := changed_files(target):
        raise FileExistsError(
            f"{str(target)!r} holds files that were changed since they were written ({listed(changed)}): move them away, or "
            "choose another folder"
        )


def finish_publication(folder: Path) -> None:
    """Finish what a run began that was killed while it replaced files in `folder`; wait for one that is at it."""
    draft = folder / DRAFT
    if not (draft / COMMITTED).is_file():
        return
    try:
        with FileLock(draft / LOCK, timeout=FINISHING_S):
            if (draft / COMMITTED).is_file():
                _replace(draft, folder)
    except Timeout:
        raise BlockingIOError(said_busy(folder)) from None


def _publish(draft: Path, target: Path, kind: str, overwrite: bool) -> Path:
    """Give the draft its place; the path where it now stands."""
    if draft.parent != target:
        return _move(draft, target)
    check_target(target, kind, overwrite=overwrite)
    old = own_files(target)
    _check_way(draft, target)
    partial = draft / f"{COMMITTED}.partial"
    partial.write_text(json.dumps(sorted(old.keys() - set(_new_files(draft)))), encoding="utf-8")
    partial.rename(draft / COMMITTED)
    _replace(draft, target)
    return target


def _move(draft: Path, target: Path) -> Path:
    """Rename the draft to `target`, or to the next free name if somebody made a folder there meanwhile; nothing is lost."""
    draft.chmod(0o755)
    place = target
    while True:
        try:
            draft.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            place = unused(target)
            continue
        (place / LOCK).unlink(missing_ok=True)
        if place != target:
            _log.warning("%r appeared meanwhile and is somebody else's: written to %r", str(target), str(place))
        return place


def _check_way(draft: Path, target: Path) -> None:
    """Raise FileExistsError, by name, for what stands at `target` where new files go, and is not ours."""
    old, found = own_files(target), set()
    for name in _new_files(draft):
        for parent in PurePosixPath(name).parents[:-1]:
            place = target / parent
            if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
                found.add(str(parent))
        if os.path.lexists(target / name) and name not in old:
            found.add(name)
    if found:
        raise FileExistsError(
            f"{str(target)!r} holds things of yours that are in the way ({listed(sorted(found))}): move them, or "
            "choose another folder"
        )


def _replace(draft: Path, target: Path) -> None:
    """Remove the old files that `COMMITTED` lists, put the new ones in place. May be begun again at any point.

    Signatures come last, both times: until then they tell what is ours. What they do not list is not touched, whatever
    `COMMITTED` says: the folder may come from elsewhere.
    """
    _check_way(draft, target)
    old = set(json.loads((draft / COMMITTED).read_text(encoding="utf-8"))) & own_files(target).keys()
    remove_own_files(target, sorted(old, key=_signatures_last))
    for name in sorted(_new_files(draft), key=_signatures_last):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft / name, target / name)
    (draft / COMMITTED).unlink()
    shutil.rmtree(draft, ignore_errors=True)


def _signatures_last(name: str) -> tuple[bool, int]:
    path = PurePosixPath(name)
    return path.name == SIGNATURE, -len(path.parts)


def _new_files(draft: Path) -> list[str]:
    hidden = {LOCK, COMMITTED, f"{COMMITTED}.partial"}
    paths = (Path(folder, file).relative_to(draft).as_posix() for folder, _, files in os.walk(draft) for file in files)
    return [path for path in paths if path not in hidden]


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
