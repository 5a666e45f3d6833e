"""Other libraries without their noise: what they log on import, progress bars, retries and warnings while loading."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")

# What libraries log when they are imported though nothing is wrong: the logger, and words of the message.
NOISE = {
    "torchao": "Failed to load",  # kernels for GPUs that are not there
    "torch.utils._pytree": "is an Enum subclass",  # torchao registers two of its own
}


class _Without(logging.Filter):
    """Leaves out messages with these words, and nothing else of a logger."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def filter(self, record: logging.LogRecord) -> bool:
        return self.words not in record.getMessage()


def _hush() -> None:
    for name, words in NOISE.items():
        logging.getLogger(name).addFilter(_Without(words))
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm in notebooks; rhat shows its own progress


_hush()  # when rhat.model is imported, which is before it imports transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars, warnings and retries of transformers and the hub while loading."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as hf_logging

    level, hub_level = hf_logging.get_verbosity(), hub_logging.get_verbosity()
    dispatch = logging.getLogger("accelerate.big_modeling")  # says so whenever a weight stays on disk
    dispatch_level = dispatch.level
    dispatch.setLevel(logging.ERROR)
    hf_logging.set_verbosity(logging.ERROR)
    hub_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        dispatch.setLevel(dispatch_level)
        hf_logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        hf_logging.enable_progress_bar()


@contextmanager
def quiet_conversion() -> Iterator[None]:
    """`quiet`, while transformers reads a GGUF file: that progress bar is one which none of its settings reaches."""

    def rows_of(rows: Iterable[T], **_: Any) -> Iterable[T]:
        return rows

    with quiet(), patch("transformers.modeling_gguf_pytorch_utils.tqdm", rows_of, create=True):
        yield
