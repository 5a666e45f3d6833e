"""The operators of a bench: r̂ under each one that has a dose."""

from __future__ import annotations

from rhat.benching.entries import Bench, Entry, Left, Offered
from rhat.benching.making import REFERENCE
from rhat.vocabulary import OPERATORS


def operators(bench: Bench) -> list[Offered]:
    """r̂ under each operator that takes a number; adding and subtracting r̂ is the reference where r̂ is the difference of means."""
    r = bench.lab.direction
    found: list[Offered] = []
    for name, operator in OPERATORS.items():
        if operator.way is None:
            found.append(Left("operator", name, "takes no number, so it has no dose"))
            continue
        same = REFERENCE if name in ("add", "subtract") and bench.is_reference(r.unit, r.layer) else None
        found.append(Entry("operator", name, r.unit, r.layer, op=name, same=same))
    return found
