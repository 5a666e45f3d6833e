"""The OpenMP workers of a thread, which spin on a core between products."""

from __future__ import annotations

import ctypes
from pathlib import Path


def release_openmp_workers() -> bool:
    """End the OpenMP workers of the calling thread, which has loaded the model and multiplies no more; whether any could be.

    GNU OpenMP lets workers sleep between products where more threads are kept than there are cores, and the engine thread
    has workers of its own: without those of the first thread a product of one row takes a tenth less.
    """
    try:
        maps = Path("/proc/self/maps").read_text()
        paths = {line.split()[-1] for line in maps.splitlines() if "libgomp" in line}  # other packages bring their own
        done = [ctypes.CDLL(path).omp_pause_resource_all(1) == 0 for path in paths]  # 1: softly, so that settings stay
        return all(done)
    except (OSError, AttributeError):
        return False
