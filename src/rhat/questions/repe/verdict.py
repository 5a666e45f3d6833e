"""Verdict: How big is the boost, beside Zou et al.?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import interval, number
from rhat.questions.question import Verdict
from rhat.questions.repe.rows import RepE, Rows
from rhat.questions.sentences import describe

EQUAL = 1.5  # two KL that differ by no more than this factor are called equal, as those of control directions are


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
    reasons = _tuning(results, repe)
    equal = results.comparison("repe_equal_damage", "set_tuned", "harmless")
    if equal:
        kl = [
            row.kl_mean for name in ("repe_equal_damage", "set_tuned") for row in results.drift if row.condition == name
        ]
        sentence += f".{_damage(*kl) if len(kl) == 2 else ''} {describe(results, equal).rstrip('.')}"
    row = results.comparison("repe_add", "set_projection", "harmless")
    if row:
        reasons.insert(0, describe(results, row))
    told = equal or row
    return Verdict(told.verdict if told else "measured", f"{sentence}.", tuple(reasons))


def _damage(repe: float, tuned: float) -> str:
    """Whether the two do the same damage; no dose that does was found where they differ."""
    same = max(repe, tuned) <= EQUAL * min(repe, tuned)
    return f" At {'equal damage' if same else 'the nearest damage found'} (KL {number(repe)} and {number(tuned)} nats on test prompts):"


def _tuning(results: Results, repe: RepE) -> list[str]:
    """What was chosen on validation prompts, whether the grid held it, and how the damage compares."""
    best, target = repe.best, repe.target
    reasons = [
        f"The best control on validation prompts adds {number(best.coefficient)} × the reading vector "
        f"at layers {best.layers[0]} to {best.layers[1]}."
    ]
    if best.inside is False or (
        best.dose is None and repe.table and best.coefficient >= max(row.coefficient for row in repe.table)
    ):
        reasons.append("That is at the edge of the doses tried, so the best may lie beyond.")
    if target:
        reasons.append(
            f"Setting, tuned on the same prompts in the same way, does best at {number(target.target)}, {number(target.dose)} gaps "
            f"of the means above the harmless mean (1 is the published target)."
            + (" That is at the edge of the doses tried." if target.inside is False else "")
        )
        return reasons
    damage = {row.condition: row.kl_mean for row in results.drift if row.prompts == "harmless"}
    if best.kl_mean is not None and "set_projection" in damage:
        reasons.append(
            f"Its damage beside that of setting: KL {number(best.kl_mean)} nats on validation prompts against "
            f"{number(damage['set_projection'])} on test prompts. RepE was tuned on validation prompts, setting was not."
        )
    return reasons
