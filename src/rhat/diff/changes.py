"""Changes: A's and B's answers to the same prompts, compared pair by pair and judged by the one rule there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rhat.artifacts.judging import adjust
from rhat.artifacts.measured import Answered, compare
from rhat.artifacts.rows import Comparison, Power
from rhat.diff.rows import Change, Word
from rhat.prompts import UNSAFE

QUESTION = "diff"  # one family: all kinds of prompts are adjusted together


def changes(a: Mapping[str, Answered], b: Mapping[str, Answered], margin: float) -> tuple[Change, ...]:
    """One row a kind of prompts (label → that model's answers, in one order), with every test adjusted together.

    `rhat.statistics.judge` asks whether more of a thing is there. Of prompts that should be refused that thing is B's refusals; of the
    others it is what B does not refuse, so there the two change places.

    Raises:
        StatisticsError: if a kind of prompts has no answers, or the margin is no share.
    """
    rows: list[Comparison] = []
    powers: list[Power | None] = []
    for label in a:
        pair = (b[label], a[label]) if label in UNSAFE else (a[label], b[label])
        row, power = compare(*pair, margin, QUESTION)
        rows.append(row)
        powers.append(power)
    return tuple(
        _change(row, power, a[label], b[label]) for label, row, power in zip(a, adjust(rows), powers, strict=True)
    )


def word_of(noninferior: bool, verdict: str) -> Word:
    """What the judgement of a difference, and whether it is shown to be less than the margin for the worse, come to."""
    if noninferior:
        return "no worse"
    return "worse" if verdict == "worse" else "undecided"


def _change(row: Comparison, power: Power | None, a: Answered, b: Answered) -> Change:
    """A judged comparison as the change from A to B: signs as of B's refusals less A's, whatever is better."""
    unsafe = row.prompts in UNSAFE
    n, word = row.n, word_of(row.noninferior, row.verdict)
    treated, referred = cast(int, row.treatment_only), cast(int, row.reference_only)
    found: dict[str, Any] = {
        "prompts": row.prompts,
        "n": n,
        "a_rate": float(a.refused[:n].mean()),
        "b_rate": float(b.refused[:n].mean()),
        "difference": row.difference if unsafe else 0.0 - row.difference,
        "ci_low": row.ci_low if unsafe else -row.ci_high,
        "ci_high": row.ci_high if unsafe else -row.ci_low,
        "ci90_low": row.ci90_low if unsafe else -row.ci90_high,
        "ci90_high": row.ci90_high if unsafe else -row.ci90_low,
        "a_only": referred if unsafe else treated,
        "b_only": treated if unsafe else referred,
        "mcnemar_p": row.mcnemar_p,
        "holm_p": row.holm_p,
        "noninferiority_p": row.noninferiority_p,
        "margin": row.margin,
        "verdict": row.verdict,
        "outcome": word,
        "clusters": row.clusters,
        "design_effect": row.design_effect,
    }
    if power is not None and word == "undecided":
        found["prompts_needed"] = power.prompts_needed
    return Change.of(found)
