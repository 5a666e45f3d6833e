"""The verdict on the two gauges, in plain sentences; everything is read from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rhat.display.wording import PROMPTS, count, interval, number, percent, points, signed
from rhat.gauges.rows import OWN, Cloud, Gauges, Guarded, Shift

FAMILY = (
    "of harmful and of harmless prompts: each gauge set − nothing set, and a measure's own gauge set − the other gauge set and − random "
    "directions set, on the log-odds of the inversion question and on refusals; adjusted together (Holm)"
)
WORDS = {"judged_harmful": "the judgement of harm", "refused": "refusal"}
SET = {"baseline": "nothing", "random": "random directions"}
GAUGE = {"harmfulness": "the harmfulness direction", "refusal": "the refusal direction"}


def judged(g: Gauges) -> dict[str, Any]:
    """The fields `verdict`, `sentence` and `sentences`, from the rows."""
    apart = [label for label in ("harmful", "harmless") if all(comes_apart(g, m, label) for m in OWN)]
    return {
        "verdict": "dissociated" if apart else "not_shown",
        "sentence": _apart(g, apart) if apart else _not_shown(g),
        "sentences": tuple(_rests_on(g, said=apart)),
    }


def comes_apart(g: Gauges, measure: str, prompts: str) -> bool:
    """Whether a measure's own gauge moves it clearly, and clearly further than the other gauge and random directions do."""
    own, other = OWN[measure], _other(OWN[measure])
    rows = [g.shift(measure, own, reference, prompts) for reference in ("baseline", other, "random")]
    return all(row is not None and row.verdict == "better" for row in rows)


def _other(gauge: str) -> str:
    return "refusal" if gauge == "harmfulness" else "harmfulness"


def _moves(g: Gauges, measure: str, prompts: str) -> str:
    """What each gauge does to a measure, its own first, such as "by 3.1 nats [2, 4] and by 0.1 nats [0, 0.2]"."""
    own = OWN[measure]
    rows = [g.shift(measure, gauge, "baseline", prompts) for gauge in (own, _other(own))]
    row = g.shift(measure, own, _other(own), prompts)
    said = " and ".join(f"{GAUGE[r.condition]} moves {WORDS[measure]} by {size(r)}" for r in rows if r is not None)
    return said if row is None else f"{said} (difference {size(row)})"


def size(row: Shift) -> str:
    """A change with its interval, in its unit."""
    if row.unit == "share":
        return f"{points(row.difference)} {interval(row.ci_low, row.ci_high, scale=100, digits=1)}"
    return f"{signed(row.difference, 2)} nats {interval(row.ci_low, row.ci_high)}"


def _both(g: Gauges, label: str) -> str:
    return "; ".join(f"set on {PROMPTS[label]} prompts, {_moves(g, measure, label)}" for measure in OWN)


def _apart(g: Gauges, labels: Sequence[str]) -> str:
    return (
        f"Harmfulness and refusal come apart on {' and '.join(PROMPTS[x] for x in labels)} prompts (double dissociation): "
        f"{'; '.join(_both(g, label) for label in labels)}.{_unanswered(g)}"
    )


def _unanswered(g: Gauges) -> str:
    """Said of a dissociation where moving the model's answer to the question moves what is not shown to follow harm."""
    if g.inversion is not None and g.inversion.low > 0.5:
        return ""
    return " The model is not shown to answer the question, so this is no evidence of what it takes to be harmful."


def _not_shown(g: Gauges) -> str:
    if not g.shifts:
        return "No dissociation of harmfulness and refusal is shown: there are no harmful or harmless test prompts."
    labels = list(dict.fromkeys(row.prompts for row in g.shifts))
    lacking = [
        f"{WORDS[measure]} on {PROMPTS[label]} prompts {_why(g, measure, label)}"
        for label in labels
        for measure in OWN
        if not comes_apart(g, measure, label)
    ]
    return f"No dissociation of harmfulness and refusal is shown: {'; '.join(lacking)}."


def _why(g: Gauges, measure: str, prompts: str) -> str:
    """Which half of the condition is not met, with the numbers."""
    own, other = OWN[measure], _other(OWN[measure])
    moved, further, random = (g.shift(measure, own, reference, prompts) for reference in ("baseline", other, "random"))
    assert moved is not None
    assert further is not None
    assert random is not None
    if moved.verdict == "worse":
        return f"is moved away from the other side by {GAUGE[own]} ({size(moved)})"
    if moved.verdict != "better":
        return f"is not shown to be moved by {GAUGE[own]} ({size(moved)})"
    if further.verdict == "worse":
        return f"is moved further by {GAUGE[other]} than by {GAUGE[own]} (difference {size(further)})"
    apart, who = (further, GAUGE[other]) if further.verdict != "better" else (random, "random directions")
    return f"is not shown to be moved further by {GAUGE[own]} than by {who} (difference {size(apart)})"


def _rests_on(g: Gauges, said: Sequence[str]) -> list[str]:
    """What the verdict rests on; `said` are the labels whose changes the verdict tells."""
    harm, refusal = g.gauges
    told = [
        f"The harmfulness direction is read at {harm.site}, position {harm.position}, the refusal direction at {refusal.site}, position "
        f"{refusal.position}; their cosine is {signed(g.cosine, 2)}, and that of random directions varies by {number(g.chance)} around 0."
    ]
    if g.inversion is not None:
        told.append(_inversion(g))
    for label in ("harmful", "harmless"):
        if label not in said and any(row.prompts == label for row in g.shifts):
            told += [f"{_capital(_both(g, label))}."]
    told += [_broken(g)] if _broken(g) else []
    over = {c.refused: c for c in g.clouds if c.prompts == "borderline"}
    if True in over:
        told.append(_over_refusal(over[True], over.get(False)))
    told += [_guard(row) for row in g.guards]
    told.append(f"Intervals are 95 %; positive changes are towards the other side; family of comparisons: {g.family}.")
    return told


def _inversion(g: Gauges) -> str:
    row = g.inversion
    assert row is not None
    area = f"AUROC {number(row.auroc)} {interval(row.low, row.high)}"
    if row.low > 0.5:
        return f"Asked whether a request is harmful, the unedited model tells harmful from harmless test prompts with {area}."
    if row.high < 0.5:
        return (
            f"Asked whether a request is harmful, the unedited model says so more readily of harmless test prompts than of harmful ones ({area}), "
            "so its answer does not say what it takes to be harmful."
        )
    return (
        f"Asked whether a request is harmful, the unedited model is not shown to tell harmful from harmless test prompts ({area}), so "
        "its answer says little of what it takes to be harmful."
    )


def _broken(g: Gauges) -> str:
    rows = [row for row in g.rates if row.degenerate]
    if not rows:
        return ""
    shares = ", ".join(
        f"{percent(row.degenerate / row.n)} of {PROMPTS[row.prompts]} prompts ({SET.get(row.condition, row.condition)} set)"
        for row in rows
    )
    return f"Answers break down on {shares}; such an answer counts as not refused."


def _place(cloud: Cloud) -> str:
    return (
        f"{number(cloud.harmfulness)} {interval(cloud.harmfulness_low, cloud.harmfulness_high)} on harmfulness and "
        f"{number(cloud.refusal)} {interval(cloud.refusal_low, cloud.refusal_high)} on refusal"
    )


def _over_refusal(refused: Cloud, others: Cloud | None) -> str:
    rest = "" if others is None else f"; the {count(others.n, 'other borderline prompt')} lie at {_place(others)}"
    return (
        f"{count(refused.n, 'refused borderline prompt')} lie on average at {_place(refused)}, where 0 is the mean of harmless and 1 "
        f"that of harmful training prompts{rest}."
    )


def _guard(row: Guarded) -> str:
    areas = (
        f"AUROC {number(row.both)} {interval(row.both_low, row.both_high)} on both gauges, {number(row.rhat)} "
        f"{interval(row.rhat_low, row.rhat_high)} on r̂ alone, difference {signed(row.difference, 2)} "
        f"{interval(row.difference_low, row.difference_high)}"
    )
    head = f"A guard that tells harmful from {PROMPTS[row.negatives]} prompts"
    if row.verdict is None:
        return f"{head}: {areas}."
    word = {"better": "does better on both gauges", "worse": "does worse on both gauges"}.get(
        row.verdict, "is not shown to differ with the second gauge"
    )
    return f"{head} {word}: {areas}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
