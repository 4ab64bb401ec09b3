"""Folders that grow while a run works: locked for their writer, every entry signed for before it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .drafts import clear_drafts, listed, lock_folder, retold
from .publication import check_target
from .signatures import append_entries, kind_of, read_signature, sha256, start_signature


class GrowingFolder:
    """A folder of ours that this process has locked; made by `growing_folder`.

    Attributes:
        path: The folder.
        names: Entries that it has, from this run and earlier ones.
    """

    def __init__(self, path: Path) -> None:
        signature = read_signature(path)
        assert signature is not None
        self.path, self.names = path, set(signature.entries)

    def claim(self, *names: str) -> None:
        """Sign for entries that will be written; a name that ends with "/" is a folder with a signature of its own.

        Raises FileExistsError, by name, for what is there and not ours.
        """
        new = [name for name in names if name not in self.names]
        if foreign := [name for name in new if os.path.lexists(self.path / name.rstrip("/"))]:
            raise FileExistsError(
                f"{str(self.path)!r} holds things of yours that are in the way ({listed(foreign)}): move them, or "
                "choose another folder"
            )
        append_entries(self.path, dict.fromkeys(new))
        self.names.update(new)

    def seal(self, *names: str) -> None:
        """Record the hashes of files that grow no more, so that a change by others is noticed."""
        append_entries(self.path, {name: sha256(self.path / name) for name in names})


@contextmanager
def growing_folder(path: Path, kind: str) -> Iterator[GrowingFolder]:
    """The folder at `path`, new or begun by an earlier run, locked for this process.

    Raises:
        FileExistsError: It holds something and is no folder of ours of this kind.
        BlockingIOError: Another process writes there.
        OSError: Nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise FileExistsError(f"{str(path)!r} is no folder: choose another name") from None
    except OSError as error:
        raise retold(error, f"cannot write to {str(path)!r} ({error.strerror}): choose another folder") from error
    if kind_of(path) != kind:
        check_target(path, kind, overwrite=False)  # before a lock is put into what may be somebody else's
    with lock_folder(path):
        if kind_of(path) != kind:
            check_target(path, kind, overwrite=False)
            start_signature(path, kind)
        clear_drafts(path)
        yield GrowingFolder(path)
