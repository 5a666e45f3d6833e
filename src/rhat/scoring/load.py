"""How busy a machine is with other work, so that what is timed meanwhile is not taken for the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

WORKING = ("user", "nice", "system", "irq", "softirq", "steal")


@dataclass
class Load:
    """Cores that other processes used on average."""

    others: float = 0.0


@contextmanager
def other_work() -> Iterator[Load]:
    """What other processes use inside the `with`."""
    found, busy, own, clock = Load(), _busy(), _own(), time.perf_counter()
    yield found
    seconds = time.perf_counter() - clock
    found.others = max(0.0, (_busy() - busy - (_own() - own)) / seconds) if seconds > 0 else 0.0


def _busy() -> float:
    """Seconds that all cores together have worked since the system began."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in WORKING)


def _own() -> float:
    """Processor seconds of this process, and of those that it waited for."""
    return sum(os.times()[:4])
