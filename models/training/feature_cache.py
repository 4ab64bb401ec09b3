"""Features of photos under a frozen network, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...core.images import load_image
from ..encoder import to_pixels

Progress = Callable[[str, int, int, str], None]  # called with stage, number done, total, remark


def cache_features(
    network: nn.Module, paths: Sequence[Path], folder: Path, *, size: int, views: int, progress: Progress
) -> np.ndarray:
    """Features `(photos, views, c, h, w)` in float16, memory-mapped from `folder`; an interrupted call resumes.

    `network` takes pixels `(b, 3, size, size)`; view 1 is the mirrored photo. A hash of paths, size, views and weights
    names the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.eval()  # ImageNet statistics rather than the batch's: at inference there is no batch
    weights = b"".join(p.detach().cpu().numpy().tobytes() for p in network.state_dict().values())
    key = hashlib.sha256(repr(([str(p) for p in paths], size, views)).encode() + weights).hexdigest()[:16]
    device = next(network.parameters()).device
    with torch.inference_mode():
        shape = network(torch.zeros(1, 3, size, size, device=device)).shape[1:]
    whole = (len(paths), views, *shape)
    file, marker = folder / f"{key}.npy", folder / f"{key}.done"
    done = int(marker.read_text()) if marker.exists() and file.exists() else 0
    mode = "r+" if done else "w+"
    features = np.lib.format.open_memmap(file, mode=mode, dtype=np.float16, shape=None if done else whole)
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
