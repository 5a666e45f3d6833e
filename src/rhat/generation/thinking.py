"""Where an answer begins: after the think block, which is counted apart from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rhat.model.markup import MARKUPS, Markup, raw

SEEN = 32  # newest tokens in which the end of a block is looked for: longer than any markup, in bytes too


class Block:
    """The think block at the beginning of a growing answer, if there is one.

    Blank and special tokens that follow the block belong to it, so that the answer begins with its first word.

    state   waiting: nothing but the beginning of markup, or blank; inside: the block is open; closed: blank so far after it;
            done: the answer has begun
    length  tokens before the answer, so far
    """

    def __init__(self, tokenizer: Any, begun: Markup | None = None) -> None:
        self.state: Literal["waiting", "inside", "closed", "done"] = "waiting" if begun is None else "inside"
        self.length = 0
        self._tokenizer = tokenizer
        self._closes = "" if begun is None else begun.closes
        self._special = frozenset(tokenizer.all_special_ids)

    def push(self, tokens: Sequence[int]) -> None:
        """All tokens generated so far, one more than before."""
        if self.state == "done":
            return
        if self.state == "waiting":
            self._wait(raw(self._tokenizer, tokens).lstrip())
        elif self.state == "closed" and not self._blank(tokens[-1]):
            self.state = "done"
        if self.state == "inside" and self._closes in raw(self._tokenizer, tokens[-SEEN:]):
            self.state = "closed"
        if self.state != "done":
            self.length = len(tokens)

    def _wait(self, text: str) -> None:
        opened = next((m for m in MARKUPS if text.startswith(m.opens)), None)
        if opened is not None:
            self.state, self._closes = "inside", opened.closes
        elif text and not any(m.opens.startswith(text) for m in MARKUPS):
            self.state, self.length = "done", 0

    def _blank(self, token: int) -> bool:
        return token in self._special or not raw(self._tokenizer, [token]).strip()
