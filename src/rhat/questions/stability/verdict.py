"""Verdict: Is it one direction?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import number
from rhat.questions.question import Verdict
from rhat.questions.stability.rows import Rows


def verdict(results: Results) -> Verdict | None:
    """Is it one direction?"""
    found = results.part(Rows).stability
    if not found:
        return None
    reasons = []
    for values, name in ((found.split_half, "halves of the training prompts"), (found.seeds, "other draws of them")):
        if values:
            mean = sum(values) / len(values)
            reasons.append(
                f"Cosine between {name}: mean {number(mean)}, from {number(min(values))} to "
                f"{number(max(values))} ({len(values)} of them)."
            )
    refits = [row for row in found.refits if row.round > 0 and row.induce is not None]
    left = [(row, row.verdict == "better") for row in refits if row.verdict is not None]
    reasons += [
        f"Round {row.round}: setting it, {wording.outcome(row.induce, 'harmless')}"
        + (f"; ablating it, {wording.outcome(row.prevent, 'harmful')}." if row.prevent is not None else ".")
        for row in refits
    ]
    if not left:
        if not reasons:
            return None
        return Verdict("measured", reasons[0], tuple(reasons[1:]))
    still = [row.round for row, above in left if above]
    if still:
        text = f"More than one: after ablating r̂, round {still[0]} still finds a direction that induces refusal."
    else:
        text = "After ablating r̂ no further direction was seen to induce refusal above the baseline's interval."
    return Verdict("measured", text, tuple(reasons))
