"""Scored: what a search measured of its candidates, prompt by prompt, so that the choice can be made again on other prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from rhat.reprs import one_line

Place = tuple[int, int]
"""Layer, from 0, and position, from the end of the prompt."""

Values = Float[np.ndarray, " _"]


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of candidates on the kept validation prompts, in their order.

    before    refusal scores (nats) of harmless prompts, unedited
    induce    the same with a candidate added; shorter where it was stopped early
    ablation  refusal scores of harmful prompts with a candidate ablated, of those that pass the induce rule
    kl        KL(base ‖ ablated) of harmless prompts, nats, of those for which it was needed
    more      what another rule than the published one chose by: name → place → numbers, as that rule says
    """

    before: Values
    induce: Mapping[Place, Values] = field(default_factory=dict)
    ablation: Mapping[Place, Values] = field(default_factory=dict)
    kl: Mapping[Place, Values] = field(default_factory=dict)
    more: Mapping[str, Mapping[Place, Values]] = field(default_factory=dict)

    __repr__ = one_line

    def plain(self) -> dict[str, Any]:
        """The same as JSON values."""
        found: dict[str, Any] = {"before": self.before.tolist()}
        for name in ("induce", "ablation", "kl"):
            found[name] = _listed(getattr(self, name))
        return found | ({"more": {name: _listed(table) for name, table in self.more.items()}} if self.more else {})

    @classmethod
    def of(cls, held: Mapping[str, Any] | None) -> Scored | None:
        """The inverse of `plain`; None of None, which files of earlier versions hold."""
        if held is None:
            return None
        tables = {name: _table(held[name]) for name in ("induce", "ablation", "kl")}
        more = {name: _table(rows) for name, rows in held.get("more", {}).items()}
        return cls(np.array(held["before"]), **tables, more=more)


def _listed(table: Mapping[Place, Values]) -> list[list[Any]]:
    return [[*place, values.tolist()] for place, values in table.items()]


def _table(rows: list[list[Any]]) -> dict[Place, Values]:
    return {(layer, position): np.array(values) for layer, position, values in rows}
