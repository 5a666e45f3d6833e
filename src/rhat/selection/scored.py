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
    """

    before: Values
    induce: Mapping[Place, Values] = field(default_factory=dict)
    ablation: Mapping[Place, Values] = field(default_factory=dict)
    kl: Mapping[Place, Values] = field(default_factory=dict)

    __repr__ = one_line

    def plain(self) -> dict[str, Any]:
        """The same as JSON values."""
        found: dict[str, Any] = {"before": self.before.tolist()}
        for name in ("induce", "ablation", "kl"):
            found[name] = [[*place, values.tolist()] for place, values in getattr(self, name).items()]
        return found

    @classmethod
    def of(cls, held: Mapping[str, Any] | None) -> Scored | None:
        """The inverse of `plain`; None of None, which files of earlier versions hold."""
        if held is None:
            return None
        tables = {
            name: {(layer, position): np.array(values) for layer, position, values in held[name]}
            for name in ("induce", "ablation", "kl")
        }
        return cls(np.array(held["before"]), **tables)
