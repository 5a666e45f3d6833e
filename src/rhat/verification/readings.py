"""Readings: what stands on single prompts' projections and on the effects of single controls, made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rhat.artifacts.ranks import control_ranks
from rhat.statistics import auroc, judge
from rhat.verification.kept import Answers, Kept
from rhat.verification.recomputed import Recomputed

Written = Mapping[str, Any]


def _tests(kept: Kept) -> dict[str, Answers]:
    """Harmful and harmless test prompts whose projections on r̂ were all kept; both, or none."""
    known = {}
    for label in ("harmful", "harmless"):
        m = kept.of("baseline", label)
        count = 0 if m is None else int(np.isfinite(m.projections).sum())
        if m is not None and count > 1 and np.isfinite(m.projections[:count]).all():
            known[label] = m.first(count)
    return known if len(known) == 2 else {}


def projections(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """At r̂'s own layer: mean and spread of the projections of test prompts, how well they part the labels, and their histogram."""
    sides, layer = _tests(kept), (written.get("direction") or {}).get("layer")
    if not sides:
        return
    for i, row in enumerate(written.get("projections", [])):
        if row["layer"] == layer and row["split"] == "test" and row["n"] == len(sides[row["label"]].projections):
            values = sides[row["label"]].projections
            yield Recomputed(("projections", i), {"mean": float(values.mean()), "sd": float(values.std(ddof=1))})
    both = sides["harmful"], sides["harmless"]
    for i, row in enumerate(written.get("auroc", [])):
        if row["layer"] == layer and row["n"] == sum(len(m.projections) for m in both):
            area = auroc(both[0].projections, both[1].projections, groups=(both[0].topics, both[1].topics))
            made = {"auroc": area.estimate, "ci_low": area.low, "ci_high": area.high}
            yield Recomputed(("auroc", i), made | {"verdict": judge((area.low - 0.5, area.high - 0.5))})
    for i, row in enumerate(written.get("histogram", [])):
        values = sides[row["label"]].projections
        if row["layer"] == layer and sum(row["counts"]) == len(values):
            yield Recomputed(("histogram", i, "counts"), np.histogram(values, row["edges"])[0].tolist())


def controls(written: Written, _kept: Kept) -> Iterator[Recomputed]:
    """The effect of each matched control, from its prompts' effects, and r̂'s rank among them."""
    rows = written.get("matched_controls", [])
    for i, row in enumerate(rows):
        yield Recomputed(("matched_controls", i), {"effect": float(np.mean(row["effects"])), "n": len(row["effects"])})
    made = [
        rank
        for op in dict.fromkeys(row["op"] for row in rows)
        for rank in control_ranks(op, [row for row in rows if row["op"] == op])
    ]
    for i, rank in enumerate(made):
        yield Recomputed(("control_ranks", i), rank, whole=True)


SECTIONS = (projections, controls)
