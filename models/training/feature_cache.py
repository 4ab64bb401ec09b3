"""Features of photos under a frozen network, computed once and kept on disk."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...core.drafts import retold
from ...core.images import load_image
from ...core.signatures import sha256
from ..encoder import to_pixels

Progress = Callable[[str, int, int, str], None]  # called with stage, number done, total, remark


def cache_features(
    network: nn.Module, paths: Sequence[Path], folder: Path, *, size: int, views: int, progress: Progress
) -> np.ndarray:
    """Features `(photos, views, c, h, w)` in float16, memory-mapped from `folder`; an interrupted call resumes.

    `network` takes pixels `(b, 3, size, size)`; view 1 is the mirrored photo. A hash of the photos' content, size, views and
    weights names the file; one that is shorter than it should be is computed anew.

    Raises OSError if the disk has no room for all of it, before anything is computed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.eval()  # ImageNet statistics rather than the batch's: at inference there is no batch
    weights = b"".join(p.detach().cpu().numpy().tobytes() for p in network.state_dict().values())
    photos = [sha256(path) for path in paths]
    key = hashlib.sha256(repr((photos, size, views)).encode() + weights).hexdigest()[:16]
    device = next(network.parameters()).device
    with torch.inference_mode():
        shape = network(torch.zeros(1, 3, size, size, device=device)).shape[1:]
    whole = (len(paths), views, *shape)
    file, marker = folder / f"{key}.npy", folder / f"{key}.done"
    done = _photos_done(file, marker, whole)
    if done == 0:
        marker.unlink(missing_ok=True)
        _allocate(file, whole)
    features = np.lib.format.open_memmap(file, mode="r+")
    network = network.to(memory_format=torch.channels_last)
    for start in range(done, len(paths), 32):
        batch = to_pixels([load_image(path) for path in paths[start : start + 32]], size).to(device)
        for view in range(views):
            pixels = batch.flip(3) if view else batch
            with torch.inference_mode():
                out = network(pixels.to(memory_format=torch.channels_last))
            features[start : start + len(batch), view] = out.half().cpu().numpy()
        features.flush()
        marker.write_text(str(start + len(batch)))
        progress("features", start + len(batch), len(paths), "")
    return features


def _photos_done(file: Path, marker: Path, whole: tuple[int, ...]) -> int:
    """How many photos of a cache file are computed; 0 for one that is not there, cut short, or of another shape."""
    try:
        done = int(marker.read_text())
        return done if 0 <= done <= whole[0] and np.load(file, mmap_mode="r").shape == whole else 0
    except (OSError, ValueError, EOFError):  # numpy refuses files that are shorter than their header says
        return 0


def _allocate(file: Path, whole: tuple[int, ...]) -> None:
    """An empty cache file with all its blocks: a disk that is full later would end the process by SIGBUS, without a message."""
    np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=whole).flush()
    try:
        with file.open("r+b") as opened:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
            elif shutil.disk_usage(file.parent).free < file.stat().st_size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        need = file.stat().st_size
        file.unlink()
        raise retold(
            error,
            f"the features of {whole[0]} photos need {need / 1e9:.2g} GB in {str(file.parent)!r} ({error.strerror}): "
            "free some space or choose another folder",
        ) from error
