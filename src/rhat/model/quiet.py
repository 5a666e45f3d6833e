"""Transformers without its progress bars and warnings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and warnings while loading."""
    from transformers.utils import logging as hf_logging

    level = hf_logging.get_verbosity()
    dispatch = logging.getLogger("accelerate.big_modeling")  # says so whenever a weight stays on disk
    dispatch_level = dispatch.level
    dispatch.setLevel(logging.ERROR)
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        dispatch.setLevel(dispatch_level)
        hf_logging.set_verbosity(level)
        hf_logging.enable_progress_bar()
