"""Drawing a part of a small set."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def balanced(
    items: Sequence[Item], kinds: Sequence[str], kind_of: Callable[[Item], str], n: int, seed: int
) -> tuple[Item, ...]:
    """About n of the items, as many of each kind, drawn with a seed, in their order; all of them where n is as many or more."""
    drawn = random.Random(seed)
    chosen: set[int] = set()
    for kind in kinds:
        mine = [i for i, item in enumerate(items) if kind_of(item) == kind]
        chosen |= set(drawn.sample(mine, min(len(mine), max(1, n // len(kinds)))))
    return tuple(items[i] for i in sorted(chosen))
