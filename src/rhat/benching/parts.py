"""Parts: what a bench is made of. A new part is one function and one record in `_RECORDS`.

A part offers edits, which are given doses of equal KL, or answers of its own, which have a KL of their own, or a document of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rhat.benching.baselines import asking, baselines
from rhat.benching.entries import Bench, Left, Offered
from rhat.benching.finders import finders
from rhat.benching.gauging import gauges
from rhat.benching.operators import operators
from rhat.benching.rules import rules
from rhat.lab.measurement import Measurement
from rhat.model.template import ChatPrompt
from rhat.prompts import Label
from rhat.reprs import one_line

Answered = tuple[dict[str, Measurement], list[Left]]
"""Measurements by condition, and what there are none of."""


@dataclass(frozen=True)
class Part:
    """A part of a bench.

    name     as `--only` names it: one of `rhat.benching.settings.PARTS`
    edits    what it offers to be given doses
    answers  (bench, label, n) → answers to the first n test prompts of a label, under its own conditions
    asking   how a request is put under each of those conditions: what it is measured under beside refusal
    tasks    in which tasks it has answers; (): all
    fields   what it adds to bench.json beside the comparisons, by field; it raises StudyError where it cannot
    """

    name: str
    edits: Callable[[Bench], list[Offered]] | None = None
    answers: Callable[[Bench, Label, int], Answered] | None = None
    asking: Callable[[Bench], dict[str, Callable[[str], ChatPrompt]]] | None = None
    tasks: tuple[str, ...] = ()
    fields: Callable[[Bench], dict[str, Any]] | None = None

    __repr__ = one_line


_RECORDS = (
    Part("finders", edits=finders),
    Part("rules", edits=rules),
    Part("operators", edits=operators),
    Part("baselines", answers=baselines, asking=asking, tasks=("induce", "over-refusal")),
    Part("gauges", fields=gauges),
)

TABLE: dict[str, Part] = {part.name: part for part in _RECORDS}
"""The parts by name, in the order of pages."""
