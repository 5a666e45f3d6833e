"""Text as it is written: tokens in, text out as soon as it is certain, cut at stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what decoding gives for bytes of a character whose rest is still to come


LONGEST_CHARACTER = 8  # tokens; more of them that still make no character are no character


class Text:
    """The text of a growing answer, special tokens left out.

    `pieces[i]` is what token i released. A piece is empty while a character is incomplete, or while the end of the text
    may be the beginning of a stop string; a later piece then brings it. Joined, the pieces are the answer's text up to,
    and without, the stop string that was complete first.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self.pieces: list[str] = []
        self.stopped = False
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        # tokens [from, read) have been decoded; they are the left context of the next ones
        self._from, self._read = 0, 0
        self._held = ""  # decoded, not yet released

    def __str__(self) -> str:
        return "".join(self.pieces)

    def push(self, token: int) -> str:
        """Take one more token; returns the piece it releases."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._from : self._read])
        after = self._decode(self._tokens[self._from :])
        fresh = ""
        if len(after) > len(before) and not after.endswith(UNFINISHED):
            fresh = after[len(before) :]
            self._from, self._read = self._read, len(self._tokens)
        self.pieces.append(self._release(fresh))
        return self.pieces[-1]

    def finish(self) -> str:
        """Nothing more will come: what was held back is added to the last piece; returns what was added."""
        if self.stopped or not self.pieces:
            return ""
        before = self._decode(self._tokens[self._from : self._read])
        rest = self._release(self._decode(self._tokens[self._from :])[len(before) :])
        if not self.stopped:
            rest, self._held = rest + self._held, ""
        self.pieces[-1] += rest
        return rest

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def _release(self, fresh: str) -> str:
        """What of the held text and `fresh` is certain to be part of the answer."""
        if self.stopped:
            return ""
        text = self._held + fresh
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def pieces_of(tokenizer: Any, tokens: Sequence[int], text: str) -> tuple[str, ...]:
    """For each token of a text the piece that it brings, special tokens included; empty while a character is incomplete.

    Tokens that the text does not show (such as a start that the tokenizer added) bring nothing.
    """
    pieces: list[str] = []
    start, at = 0, 0  # tokens [start, …) have brought nothing yet; `at` characters are brought
    for end in range(1, len(tokens) + 1):
        piece = str(tokenizer.decode(list(tokens[start:end])))
        if start and not text.startswith(
            piece, at
        ):  # some tokenizers drop the space at the beginning of what they decode
            both = str(tokenizer.decode(list(tokens[start - 1 : end])))
            piece = both[len(str(tokenizer.decode([tokens[start - 1]]))) :]
        if piece.endswith(UNFINISHED) and not text.startswith(piece, at) and end - start < LONGEST_CHARACTER:
            pieces.append("")
            continue
        shown = text.startswith(piece, at)
        pieces.append(piece if shown else "")
        at += len(piece) if shown else 0
        start = end
    return tuple(pieces)


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with, short of all of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
