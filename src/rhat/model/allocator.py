"""Memory that one layer's activations leave is kept for the next layer's, instead of going back to the system each time."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 2**31 - 1  # bytes at the end of the heap that stay with the process
MAPPED = (2**30, 2**25)  # blocks above this get a mapping of their own; old glibcs take no more than the second


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep what is freed; whether it was told.

    A layer's activations are tens of megabytes. By default each such block is a mapping of its own, which the kernel fills
    with zeros page by page when it is first written: 300,000 page faults in a scoring pass of 64 prompts, a fifth of
    its time. Nothing is done where the environment says how malloc should behave, or where malloc is not glibc's.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mapped = any(mallopt(_M_MMAP_THRESHOLD, size) for size in MAPPED)
    return bool(mapped and mallopt(_M_TRIM_THRESHOLD, KEPT))


def give_back_freed_memory() -> None:
    """Give what is free now back to the system: between stages, so that what one left is not held through the next."""
    if sys.platform.startswith("linux") and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
