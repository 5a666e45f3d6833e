"""The manifest: versions, seed, command line, machine, and what the run took."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rhat.study.config import StudyConfig


def manifest(config: StudyConfig) -> dict[str, Any]:
    """Versions, seed, command line and machine."""
    versions = {}
    for name in ("rhat", "torch", "transformers", "numpy", "scipy", "statsmodels"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed as a package"
    return {
        "versions": versions | {"python": platform.python_version()},
        "seed": config.seed,
        "command": sys.argv,
        "machine": {"platform": platform.platform(), "processor": processor(), "cores": _cores()},
    }


def peak_memory() -> float | None:
    """The most main memory that this process has held, GiB; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return round(peaks[0] / 2**20, 3) if peaks else None


def _cores() -> int:
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
