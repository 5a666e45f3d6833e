"""Markup before an answer: think blocks and channels, which a model writes, or its template opens, before what is for the user.

Special tokens are left out of the text of completions, so markup is looked for in tokens decoded with all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BLANK = "\n\n"  # what stands in an empty think block, and after it where the model does not say


@dataclass(frozen=True)
class Markup:
    """One kind of markup.

    opens   how it begins
    closes  what the visible answer comes after
    emptied whether an answer without thinking keeps an empty block; otherwise it begins with `closes`
    """

    opens: str
    closes: str
    emptied: bool = True


MARKUPS = (
    Markup("<think>", "</think>"),
    Markup("<thinking>", "</thinking>"),
    Markup("<thought>", "</thought>"),
    Markup("<reasoning>", "</reasoning>"),
    Markup("<seed:think>", "</seed:think>"),
    Markup("[THINK]", "[/THINK]"),
    Markup("<|START_THINKING|>", "<|END_THINKING|>"),
    Markup("◁think▷", "◁/think▷"),
    Markup("<|channel|>", "<|channel|>final<|message|>", emptied=False),  # harmony, the format of gpt-oss
)


def raw(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Text of tokens, special ones and every space included."""
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def left_open(prompt: str) -> Markup | None:
    """The markup that the end of a prompt opens and leaves open."""
    return next((m for m in MARKUPS if m.emptied and prompt.rstrip().endswith(m.opens)), None)


def begun(text: str) -> Markup | None:
    """The markup that a text begins and does not end: what follows is still inside it."""
    return next((m for m in MARKUPS if m.emptied and text.rfind(m.opens) > text.rfind(m.closes)), None)


def opened(answers: Sequence[str]) -> Markup | None:
    """The markup that at least half of some answers (raw) begin with."""
    for markup in MARKUPS:
        if answers and 2 * sum(a.lstrip().startswith(markup.opens) for a in answers) >= len(answers):
            return markup
    return None


def visible(answer: str, markup: Markup, special: Sequence[str]) -> tuple[str, str] | None:
    """(what stands between the markup and the visible answer, the visible answer) of a raw answer; None if it never closes.

    The answer ends at the next special token; spaces and special tokens before it belong to the markup.
    """
    _, closed, rest = answer.partition(markup.closes)
    if not closed:
        return None
    tokens = "|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)"
    between = re.match(rf"(?:\s|{tokens})*", rest)
    gap = between.group() if between else ""
    return gap, re.split(tokens, rest[len(gap) :])[0]


def empty(markup: Markup, prompt: str, gaps: Sequence[str]) -> str:
    """The text after which an answer is visible at once: an empty think block, or the header of the final channel.

    `prompt` is the raw prompt, which may have opened the block; `gaps` are what the model puts after its own blocks.
    """
    gap = Counter(gaps).most_common(1)[0][0] if gaps else (BLANK if markup.emptied else "")
    if not markup.emptied:
        return markup.closes + gap
    if left_open(prompt) is not markup:
        return markup.opens + BLANK + markup.closes + gap
    begun = prompt[len(prompt.rstrip()) :]
    return (BLANK[len(begun) :] if BLANK.startswith(begun) else "") + markup.closes + gap
