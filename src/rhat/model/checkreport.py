"""What a self-check of a model gives: one row for each thing proved, and the whole report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from rhat.sites import Site

Outcome = Literal["ok", "failed", "absent"]


@dataclass(frozen=True)
class Check:
    """One thing proved, or not, by running the model.

    what      a kind of site, or a law
    where     the layers, and the module inside the block
    outcome   "ok", "failed", or "absent": this model has no such part, or it could not be told apart
    measured  the number behind the outcome, with its meaning
    """

    what: str
    where: str
    outcome: Outcome
    measured: str
    seconds: float


@dataclass(frozen=True)
class CheckReport:
    """What was proved on a model, what it lacks, and whether it is run by the fast path."""

    model: str
    architecture: str
    checks: tuple[Check, ...]
    fast: bool
    reason: str  # why the fast path is not taken; empty where it is
    absent: tuple[Site, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing failed; a part that is absent is reported and is no failure."""
        return all(check.outcome != "failed" for check in self.checks)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a check, all with the same keys, ready for a table."""
        return [
            {
                "check": c.what,
                "where": c.where,
                "outcome": c.outcome,
                "measured": c.measured,
                "seconds": round(c.seconds, 3),
            }
            for c in self.checks
        ]
