"""Reuse of freed memory by the C library, instead of returning it to the kernel after every tensor."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks of any size for the next tensor; returns whether that succeeded.

    By default blocks of more than 32 MB are mapped anew each time, and the kernel zeroes them page by page, which takes half of
    the time of `evidence` on a CPU. The process keeps its peak memory, which every batch of a study needs again.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        option = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has no mallopt
        return False
    return all(option(name, value) for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)))
