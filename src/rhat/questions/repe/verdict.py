"""Verdict: How big is the boost, beside Zou et al.?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import interval, number
from rhat.questions.question import Verdict
from rhat.questions.repe.rows import Rows
from rhat.questions.sentences import describe


def verdict(results: Results) -> Verdict | None:
    """How big is the boost, beside Zou et al.?"""
    repe = results.part(Rows).repe
    if not repe:
        return None
    parts = [
        f"{wording.condition(row.condition)} {wording.signed(row.points)} points "
        f"{interval(row.ci_low, row.ci_high, digits=1)}"
        for row in repe.boosts
    ]
    sentence = f"Boost over baseline: {'; '.join(parts)}"
    if published := repe.published:
        sentence += f". {published.source} report {number(published.value, 0)} points"
        sentence += f" for {published.model} (their number)" if published.model is not None else " (their number)"
    best = repe.best
    reasons = [
        f"The best control on validation prompts adds {number(best.coefficient)} × the reading vector "
        f"at layers {best.layers[0]} to {best.layers[1]}."
    ]
    row = results.comparison("repe_add", "set_projection", "harmless")
    if row:
        reasons.insert(0, describe(results, row))
    return Verdict(row.verdict if row else "measured", f"{sentence}.", tuple(reasons))
