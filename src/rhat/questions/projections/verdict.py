"""Verdict: What do projections look like?"""

from __future__ import annotations

from rhat.artifacts.rows import Separation
from rhat.artifacts.run import Results
from rhat.display.wording import interval, number
from rhat.questions.projections.rows import LayerAuroc, Rows
from rhat.questions.question import Verdict
from rhat.questions.sentences import chance


def verdict(results: Results) -> Verdict | None:
    """What do projections look like?"""
    layer = results.direction.layer if results.direction else None
    at = results.at_layer("auroc", results.part(Rows).auroc)
    if not at:
        return None
    row = at[0]
    means = {p.label: p for p in results.part(Rows).projections if p.layer == layer and p.split == "test"}
    text = f"At layer {layer} the projection tells harmful from harmless prompts with AUROC {_auroc(row)}"
    if {"harmful", "harmless"} <= means.keys():
        sides = [f"{name} {number(p.mean)} ± {number(p.sd)}" for name, p in sorted(means.items())]
        text += f" (mean ± sd: {', '.join(sides)})"
    reasons = [
        f"{inner.comparison.capitalize()}: AUROC {_auroc(inner)}, {chance(inner)}." for inner in results.auroc_within
    ]
    return Verdict(row.verdict, f"{text}.", tuple(reasons))


def _auroc(row: LayerAuroc | Separation) -> str:
    return f"{number(row.auroc, 3)} {interval(row.ci_low, row.ci_high, digits=3)}"
