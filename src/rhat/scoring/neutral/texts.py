"""The texts: paragraphs of two or three sentences about nothing that a model refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, get_args

from rhat.reprs import one_line
from rhat.scoring.drawing import balanced

Kind = Literal["food", "home", "nature", "town", "travel", "work"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Text:
    """A paragraph, and what it is about."""

    id: str
    kind: Kind
    text: str

    __repr__ = one_line


@cache
def neutral_texts() -> tuple[Text, ...]:
    """The 36 texts of the set, 6 of each kind, in the order of the file."""
    source = resources.files("rhat.scoring.neutral") / "texts.jsonl"
    return tuple(Text(**json.loads(line)) for line in source.read_text(encoding="utf-8").splitlines())


def some_texts(n: int, seed: int = 0) -> tuple[Text, ...]:
    """About n of the texts, as many of each kind, drawn with a seed, in the order of the file; all of them where n is as many or more."""
    return balanced(neutral_texts(), KINDS, lambda text: text.kind, n, seed)
