"""Timing: repeated runs, medians, what the other processes of the machine were doing, and a row of the table."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import psutil

PACKAGES = ("rhat", "torch", "transformers", "numpy", "tokenizers", "safetensors")
QUIET = 0.3  # cores that others may use before a number counts as taken under load


@dataclass
class Times:
    """Repeated runs of one thing: seconds by the clock, and of processor time (all threads of this process)."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds by the clock."""
        return statistics.median(self.wall)

    @property
    def cpu_median(self) -> float:
        """Median seconds of processor time."""
        return statistics.median(self.cpu)

    def said(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "median": self.median,
            "cpu_median": self.cpu_median,
            "wall": [round(t, 4) for t in self.wall],
            "cpu": [round(t, 4) for t in self.cpu],
        }


def timed(work: Callable[[], Any], runs: int = 5, warm: int = 1) -> Times:
    """Run `work` `warm` times for nothing, then `runs` times by the clock."""
    for _ in range(warm):
        work()
    times = Times()
    for _ in range(runs):
        once(work, times)
    return times


def once(work: Callable[[], Any], times: Times) -> Any:
    """Run `work` once and add its time; returns what it returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    times.wall.append(time.perf_counter() - wall)
    times.cpu.append(time.process_time() - cpu)
    return result


def alternating(works: dict[str, Callable[[], Any]], runs: int, warm: int = 1) -> dict[str, Times]:
    """Time several things in turn, the order turned round every other time, so that a drift of the machine hits all alike."""
    times = {name: Times() for name in works}
    for _ in range(warm):
        for work in works.values():
            work()
    for run in range(runs):
        for name in list(works)[:: 1 if run % 2 == 0 else -1]:
            once(works[name], times[name])
    return times


@dataclass
class Row:
    """One row of the table.

    value, unit, limit, direction  the number that is held against the target: at least or at most `limit`
    ours, theirs                   medians in words
    met                            None where there is no target or it could not be measured
    """

    name: str
    work: str
    ours: str
    theirs: str
    target: str
    value: float | None = None
    unit: str = "×"
    limit: float | None = None
    direction: Literal["at least", "at most"] = "at least"
    runs: int = 0
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    others: float = 0.0  # mean number of cores that other processes used meanwhile

    @property
    def met(self) -> bool | None:
        """Whether the target was reached."""
        if self.value is None or self.limit is None:
            return None
        return self.value >= self.limit if self.direction == "at least" else self.value <= self.limit

    def said(self) -> dict[str, Any]:
        """For results.json."""
        return {**asdict(self), "met": self.met, "under_load": self.others > QUIET}


@dataclass
class Load:
    """What other processes used while something was measured: cores, on average."""

    others: float = 0.0


@contextmanager
def watched() -> Any:
    """Measure how many cores other processes used inside the `with`."""
    load = Load()
    before, own, wall = psutil.cpu_times(), _own(), time.perf_counter()
    try:
        yield load
    finally:
        after = psutil.cpu_times()
        busy = sum(getattr(after, k) - getattr(before, k) for k in ("user", "system", "nice", "irq", "softirq"))
        load.others = max(0.0, (busy - (_own() - own)) / max(time.perf_counter() - wall, 1e-9))


def _own() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def machine() -> dict[str, Any]:
    """The machine, the versions, and how busy it was before anything was measured."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "bfloat16": bool(torch.cpu._is_avx512_bf16_supported()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "others_at_start": round(_others(3.0), 2),
        "environment": {
            name: os.environ[name]
            for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
            if name in os.environ
        },
    }


def _others(seconds: float) -> float:
    with watched() as load:
        time.sleep(seconds)
    return load.others


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            found = dict(line.split(":", 1) for line in lines if ":" in line)
        fields = {k.strip(): v.strip() for k, v in found.items()}
        return f"{fields.get('model name', platform.processor())} (family {fields.get('cpu family')}, model {fields.get('model')})"
    except OSError:
        return platform.processor() or platform.machine()


def seconds(value: float) -> str:
    """Seconds in words: ms below one, minutes above two."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"
