"""Stopping: SIGTERM and SIGHUP end a command as Ctrl-C does, and what is kept is said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INTERRUPTED = 130  # 128 and the number of the signal, as shells have it: 143 for SIGTERM, 129 for SIGHUP
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def _stop(number: int, _frame: Any) -> None:
    raise Stopped(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Signals to end raise `Stopped` inside the `with`, but for those that the process was started to ignore (nohup)."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """Whoever ends this `with` by Ctrl-C or a signal is told what of the work is kept in a folder."""
    try:
        yield
    except KeyboardInterrupt as stop:
        files = folder.rglob("*") if folder.is_dir() else ()
        # study.json holds settings, not work
        n = sum(path.suffix in (".piece", ".json") and path.name != "study.json" for path in files)
        if n:
            files_kept = "1 file" if n == 1 else f"{n} files"
            stop.args = (
                f"what is done ({files_kept}) is kept in {folder}: rerunning the command resumes where it stopped",
            )
        raise


def unstoppable() -> None:
    """Signals to end do again what they do to any process: for a server, which listens to them itself."""
    for number in SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)
