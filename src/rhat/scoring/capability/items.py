"""The items: prompts with four options, one of which is right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, get_args

from rhat.reprs import one_line
from rhat.scoring.drawing import balanced

Category = Literal["arithmetic", "cloze", "format", "knowledge"]
CATEGORIES: tuple[Category, ...] = get_args(Category)


@dataclass(frozen=True)
class Item:
    """A prompt with its options.

    right       which option is right, from 0
    expression  of arithmetic: the right answer as Python computes it; empty for others
    """

    id: str
    category: Category
    prompt: str
    options: tuple[str, ...]
    right: int
    expression: str = ""

    __repr__ = one_line


@cache
def capability_items() -> tuple[Item, ...]:
    """The 240 items of the set, 60 of each category, in the order of the file."""
    source = resources.files("rhat.scoring.capability") / "items.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    return tuple(Item(**{**row, "options": tuple(row["options"])}) for row in rows)


def some_items(n: int, seed: int = 0) -> tuple[Item, ...]:
    """About n of the items, as many of each category, drawn with a seed, in the order of the file; all of them where n is as many or more."""
    return balanced(capability_items(), CATEGORIES, lambda item: item.category, n, seed)
