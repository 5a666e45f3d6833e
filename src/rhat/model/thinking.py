"""Thinking: whether a model thinks before its answers, and what that makes of its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rhat.errors import TemplateError
from rhat.model.markup import BLANK, MARKUPS, begun, empty, left_open
from rhat.vocabulary.thinking import THINKING_MODES, THINKING_TOKENS


@dataclass(frozen=True)
class Thinking:
    """How a model thinks before its answers.

    mode    off: the template's switch is off; on: it is on, and answers come after a think block; skip: prompts end with an
            empty think block, for a model that thinks by itself and whose template has no switch
    tokens  how many tokens a think block may have; those of the answer after it are counted apart
    """

    mode: str = "off"
    tokens: int = THINKING_TOKENS

    def __post_init__(self) -> None:
        if self.mode not in THINKING_MODES:
            raise TemplateError(f"thinking: got {self.mode!r}, expected {', '.join(THINKING_MODES)}")
        if self.tokens < 1:
            raise TemplateError(
                f"thinking: got blocks of {self.tokens} tokens, expected at least 1, such as {THINKING_TOKENS}"
            )

    @property
    def limit(self) -> int:
        """Tokens of a think block beside those of the answer; 0 where none is expected."""
        return self.tokens if self.mode == "on" else 0

    def describe(self) -> dict[str, Any]:
        """What results.json says of it; nothing where thinking is off."""
        if self.mode == "off":
            return {}
        return {"thinking": self.mode} | ({"thinking_tokens": self.tokens} if self.mode == "on" else {})


def empty_block(tokenizer: Any, tail: str) -> str:
    """The response prefix with which a model skips its thoughts; empty where `tail`, the raw end of its prompts, skips them already.

    The markup is that which the tail leaves open, else the first of those known whose beginning is one of the tokenizer's tokens,
    else `<think>`.
    """
    end = tail.rstrip()
    if any(end.endswith(markup.closes) for markup in MARKUPS):
        return ""
    known = tokenizer.get_vocab()
    inside = begun(tail)
    if inside is not None and left_open(tail) is not inside:  # a response prefix that has begun to think
        return f"\n{inside.closes}{BLANK}"
    markup = inside or next((m for m in MARKUPS if m.opens in known), MARKUPS[0])
    return empty(markup, tail, [])
