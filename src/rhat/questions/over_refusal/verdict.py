"""Verdict: Is over-refusal the same direction?"""

from __future__ import annotations

from collections.abc import Sequence

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import interval, number, percent
from rhat.questions.over_refusal.rows import GuardRow, Rows
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
    reasons += _guard(results.part(Rows).guard)
    if not rows:
        return Verdict("measured", sentence, tuple(reasons))
    return Verdict(flipped(rows[0].verdict), f"{sentence} {reasons[0]}", tuple(reasons[1:]))


def _guard(rows: Sequence[GuardRow]) -> list[str]:
    """The guard's false-positive rate on test prompts, and whether it leaves out what was promised."""
    told = []
    for row in rows:
        if row.measure != "false_positive_rate":
            continue
        found = f"{percent(row.estimate)} {interval(row.ci_low, row.ci_high, scale=100, digits=1)}"
        text = f"The guard, set to flag {percent(row.target_fpr)} of harmless prompts, flags {found} of the test ones (n = {row.n})"
        if not row.ci_low <= row.target_fpr <= row.ci_high:
            more = "more" if row.ci_low > row.target_fpr else "less"
            text += f": {more} than it was set for"
        told.append(f"{text}.")
    return told
