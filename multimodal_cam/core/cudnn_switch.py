"""cuDNN, which PyTorch switches for the whole process: off as long as any call needs it off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_switching = threading.Lock()
_calls: list[bool] = []  # that need it off, with what each found; the first one's is the user's


@contextmanager
def without_cudnn() -> Iterator[None]:
    """cuDNN is off inside; what the user chose is back when the last of several calls has ended, in whatever order."""
    cudnn = torch.backends.cudnn
    with _switching:
        _calls.append(_calls[0] if _calls else cudnn.enabled)
        cudnn.enabled = False
    try:
        yield
    finally:
        with _switching:
            chosen = _calls.pop()
            if not _calls:
                cudnn.enabled = chosen
