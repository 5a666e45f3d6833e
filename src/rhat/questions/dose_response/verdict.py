"""Verdict: Dose and response"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import interval, number
from rhat.questions.dose_response.rows import Rows
from rhat.questions.question import Verdict


def verdict(results: Results) -> Verdict | None:
    """Dose and response."""
    rows = results.part(Rows).dose
    if not rows:
        return None
    main = sorted(
        (row for row in rows if row.op in (None, "set_projection")),
        key=lambda row: row.target,
    )
    ends = main or sorted(rows, key=lambda row: row.target)
    sentence = (
        f"From a target of {number(ends[0].target)} to {number(ends[-1].target)} refusal goes from "
        f"{wording.measure(ends[0])} to {wording.measure(ends[-1])}."
    )
    reasons = tuple(
        f"Half of the effect of {wording.operator(row.op)} is reached at {number(row.dose)} "
        f"{interval(row.ci_low, row.ci_high)} {row.unit}."
        for row in results.part(Rows).half_effect
    )
    return Verdict("measured", sentence, reasons)
