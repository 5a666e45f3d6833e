"""Verdict: Is over-refusal the same direction?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import number
from rhat.questions.over_refusal.rows import Rows
from rhat.questions.question import Verdict
from rhat.questions.sentences import describe, flipped


def verdict(results: Results) -> Verdict | None:
    """Over-refusal. On borderline prompts fewer refusals are better."""
    base = results.find_rate("baseline", "borderline")
    if base is None:
        return None
    sentence = f"Without an edit {wording.rate(base)} of borderline prompts are refused (n = {base.n})."
    rows = [
        row
        for name in ("set_harmless_mean", "ablate", "set_projection")
        if (row := results.comparison(name, "baseline", "borderline"))
    ]
    reasons = [describe(results, row) for row in rows]
    reasons += [
        f"Projection of {group.group} borderline prompts: {number(group.mean)} ± {number(group.sd)} (n = {group.n})."
        for group in results.part(Rows).borderline_projections
    ]
    if not rows:
        return Verdict("measured", sentence, tuple(reasons))
    return Verdict(flipped(rows[0].verdict), f"{sentence} {reasons[0]}", tuple(reasons[1:]))
