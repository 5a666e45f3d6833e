"""Verdict: Is over-refusal the same direction?"""

from __future__ import annotations

from collections.abc import Sequence

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import count, difference, interval, number, percent
from rhat.questions.over_refusal.beside import WORDS, Beside, side_by_side
from rhat.questions.over_refusal.rows import GuardRow, Rows
from rhat.questions.question import Verdict
from rhat.questions.sentences import needed

ORDER = ("set_harmless_mean", "ablate", "guard:relax", "set_projection", "guard:strengthen")


def verdict(results: Results) -> Verdict | None:
    """Over-refusal: whether fewer borderline prompts are refused, and their unsafe twins as often as before."""
    beside = {row.condition: row for row in side_by_side(results)}
    base = beside.get("baseline")
    if base is None:
        return None
    sentence = (
        f"Without an edit {wording.rate(base.borderline)} of borderline prompts are refused (n = {base.borderline.n})"
    )
    if base.twin is not None:
        sentence += f", and {wording.rate(base.twin)} of their unsafe twins (n = {base.twin.n})"
    rows = [beside[name] for name in ORDER if name in beside]
    reasons = [_told(results, row) for row in rows]
    reasons += [
        f"Projection of {'their twins' if group.group == 'twins' else f'{group.group} borderline prompts'}: "
        f"{number(group.mean)} ± {number(group.sd)} (n = {group.n})."
        for group in results.part(Rows).borderline_projections
    ]
    reasons += _guard(results.part(Rows).guard)
    if not rows:
        return Verdict("measured", f"{sentence}.", tuple(reasons))
    return Verdict(WORDS[rows[0].reading], f"{sentence}. {reasons[0]}", tuple(reasons[1:]))


def _told(results: Results, row: Beside) -> str:
    """One condition beside the baseline, on both kinds of prompts, and what that means."""
    if row.change is None:
        return f"{wording.condition(row.condition)}: {wording.rate(row.borderline)} of borderline prompts are refused."
    changes = f"{difference(row.change)} on borderline prompts"
    if row.twin_change is not None:
        changes += f", {difference(row.twin_change)} on their twins"
    asked = row.change if row.reading == "undecided" else row.twin_change if row.reading == "open" else None
    wanted = None if asked is None else needed(results, asked)
    more = f" (it would need about {count(wanted, 'prompt')})" if wanted else ""
    return f"{wording.condition(row.condition)}: {changes}; {row.told}{more}."


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
