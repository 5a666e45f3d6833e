"""Completion: an answer of a model, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rhat.reprs import one_line

FinishReason = Literal["stop", "length", "until", "cancelled", "failed"]
"""Why an answer ended: a token or text that ends it, its length, `until`, or the caller."""


@dataclass(frozen=True)
class Completion:
    """An answer: its text without special tokens, its tokens, and why it ended.

    Where the model thinks, `block` holds the tokens of the think block before the answer and `thought` its raw text; of a block
    that was not closed within its limit, or at all, no answer follows: `text` is empty.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    block: tuple[int, ...] = ()
    thought: str = ""

    __repr__ = one_line
