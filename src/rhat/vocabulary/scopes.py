"""Token scopes: which tokens of a sequence an intervention edits. A new scope is one record in `_RECORDS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rhat.reprs import one_line


@dataclass(frozen=True)
class ScopeKind:
    """A set of tokens, defined by absolute positions.

    name       how users write it; with `counted`, followed by ":N"
    inside     (position, template start, prompt length, N) → whether a token there belongs to it. The template start is the
               position of the first template token after the instruction.
    first      (template start, prompt length) → the first position that can belong to it
    label      in reports; "{n}" stands for N
    meaning    in documentation
    counted    whether it takes a number N of 1 or more
    """

    name: str
    inside: Callable[[Any, Any, Any, int], Any]
    first: Callable[[int, int], int]
    label: str
    meaning: str
    counted: bool = False

    __repr__ = one_line

    @property
    def written(self) -> str:
        """How it is written, N included."""
        return f"{self.name}:N" if self.counted else self.name


_RECORDS = (
    ScopeKind(
        "all",
        lambda position, template, end, n: position >= 0,
        lambda template, end: 0,
        "all tokens",
        "every token of the prompt and of the answer",
    ),
    ScopeKind(
        "prompt",
        lambda position, template, end, n: position < end,
        lambda template, end: 0,
        "prompt only",
        "the prompt's tokens",
    ),
    ScopeKind(
        "generated",
        lambda position, template, end, n: position >= end,
        lambda template, end: end,
        "generated only",
        "the answer's tokens, each from when it is fed back: the first one's own logits come from the prompt",
    ),
    ScopeKind(
        "last_prompt_token",
        lambda position, template, end, n: position == end - 1,
        lambda template, end: end - 1,
        "last prompt token",
        "the last token of the prompt",
    ),
    ScopeKind(
        "template",
        lambda position, template, end, n: (position >= template) & (position < end),
        lambda template, end: template,
        "template tokens",
        "the template's tokens after the instruction",
    ),
    ScopeKind(
        "first_generated",
        lambda position, template, end, n: (position >= end) & (position < end + n),
        lambda template, end: end,
        "first {n} generated",
        "the first N tokens of the answer",
        counted=True,
    ),
)

SCOPES: dict[str, ScopeKind] = {kind.name: kind for kind in _RECORDS}
"""The kinds of token scope by name."""


WRITTEN: str = ", ".join(kind.written for kind in _RECORDS)  # for help texts and error messages
