"""Consoles: results go to stdout; progress, logs and errors go to stderr."""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

QUIET = ("transformers", "datasets", "huggingface_hub", "torch", "matplotlib", "httpx", "urllib3", "filelock")

# Always shown, before work begins: what was chosen of the user's files, and what an interrupted run left
ALWAYS = ("rhat.prompts.choices", "rhat.scoring.pieces", "rhat.study.stages")


def out() -> Console:
    """A console on the current stdout."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160  # a file or a pipe has no width: do not fold tables at 80
    return console


@cache
def err() -> Console:
    """The console on stderr that progress bars and logs share."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


def set_up_logging(*, debug: bool = False, verbose: bool = False) -> None:
    """Send rhat's log records to stderr: warnings; with `verbose`, information; with `debug`, everything."""
    logger = logging.getLogger("rhat")
    logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    logger.propagate = False
    logger.handlers = [_Handler()]
    for name in ALWAYS:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.ERROR)


class _Handler(logging.Handler):
    """Passes records to Rich's handler, which is imported with the first record."""

    def __init__(self) -> None:
        super().__init__()
        self._rich: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.name in ALWAYS and record.levelno == logging.INFO:
            err().print(record.getMessage(), markup=False, soft_wrap=True)
            return
        if self._rich is None:
            from rich.logging import RichHandler

            self._rich = RichHandler(console=err(), show_path=False, show_time=False, markup=False)
        self._rich.emit(record)
