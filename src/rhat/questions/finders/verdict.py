"""Verdict: Which finder finds it?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import joined
from rhat.display.wording import number, percent
from rhat.questions.finders.rows import Rows
from rhat.questions.question import Verdict
from rhat.questions.sentences import chance


def verdict(results: Results) -> Verdict | None:
    """Which finder finds it?"""
    rows = results.part(Rows).finders
    if not rows:
        return None
    others = [row for row in rows if row.name not in ("mean_difference", "random")]
    parts = [
        f"{wording.finder(row.name)} has cosine {number(row.cosine_to_rhat)} and tells "
        f"{percent(row.test_accuracy)} of prompts apart"
        for row in others or rows
    ]
    reasons = [
        f"{wording.finder(row.method)} on {row.set}: accuracy "
        f"{wording.rate(joined(row, rate=row.accuracy))}, {chance(row)}"
        + (f"; loss {number(row.loss, 3)}" if row.loss is not None else "")
        + (f"; inconsistency {number(row.consistency, 3)}" if row.consistency is not None else "")
        + "."
        for row in results.part(Rows).ccs
    ]
    for name in dict.fromkeys(row.set for row in results.part(Rows).ccs):
        probes = [row for row in results.part(Rows).ccs if row.set == name]
        if all(row.verdict != "better" for row in probes):
            reason, pairs, width = (
                f"No unsupervised probe tells these {name} apart here",
                probes[0].n_pairs,
                results.model.d_model,
            )
            if pairs < width:  # every labelling of so few points is linear
                reason += f"; with {pairs} training pairs in {width} dimensions CCS fits pure noise too, so a small loss says nothing"
            reasons.append(f"{reason}.")
    return Verdict("measured", f"{'; '.join(parts)}.", tuple(reasons))
