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
        sentence += f" for {published.model}" if published.model is not None else ""
        sentence += ": another model, other prompts and another measurement, so the two numbers cannot be compared"
    best = repe.best
    reasons = [
        f"The best control on validation prompts adds {number(best.coefficient)} × the reading vector "
        f"at layers {best.layers[0]} to {best.layers[1]}."
    ]
    if repe.table and best.coefficient >= max(row.coefficient for row in repe.table):
        reasons.append("That is the largest coefficient tried, so the best may lie beyond the grid.")
    damage = {row.condition: row.kl_mean for row in results.drift if row.prompts == "harmless"}
    if best.kl_mean is not None and "set_projection" in damage:
        reasons.append(
            f"Its damage beside that of setting: KL {number(best.kl_mean)} nats on validation prompts against "
            f"{number(damage['set_projection'])} on test prompts. RepE was tuned on validation prompts, setting was not."
        )
    row = results.comparison("repe_add", "set_projection", "harmless")
    if row:
        reasons.insert(0, describe(results, row))
    return Verdict(row.verdict if row else "measured", f"{sentence}.", tuple(reasons))
