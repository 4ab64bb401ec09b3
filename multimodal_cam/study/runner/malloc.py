"""Memory that the C library keeps instead of handing it back after every tensor."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed blocks, however large, for the next tensor; whether it could.

    By default blocks of more than 32 MB are mapped anew each time, and the kernel fills them with zeros page by page: half of
    the time of `evidence` on a CPU. The process then holds what it needed at most, which a study needs again with every batch.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        option = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    return all(option(name, value) for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)))
