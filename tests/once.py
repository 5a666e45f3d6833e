"""What many tests need and takes long, made once a test run: tests run in several processes, and each would make it again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

shared: Path | None = None
"""A folder of all processes of this test run, as conftest sets it; none in a process that a test starts."""


def once(name: str, make: Callable[[Path], Any]) -> Path:
    """The folder that `make` fills; the first process that asks makes it, others wait for it. Only to be read."""
    assert shared is not None, "only conftest knows the folder that all processes share"
    folder, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was ended
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
