"""Verdict: Which finder finds it?"""

from __future__ import annotations

from collections.abc import Sequence

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import joined
from rhat.display.wording import number, percent
from rhat.questions.finders.rows import Probe, Rows
from rhat.questions.question import Verdict
from rhat.questions.sentences import chance


def verdict(results: Results) -> Verdict | None:
    """Which finder finds it?"""
    rows = results.part(Rows).finders
    if not rows:
        return None
    rows = tuple(row for row in rows if row.name != "ccs")  # older files tell it of other pairs in this column
    others = [row for row in rows if row.name not in ("mean_difference", "random")]
    parts = [
        f"{wording.finder(row.name)} has cosine {number(row.cosine_to_rhat)} and tells "
        f"{percent(row.test_accuracy)} of prompts apart"
        for row in others or rows
    ]
    found = results.part(Rows).ccs
    reasons = [
        reason
        for name in dict.fromkeys(row.set for row in found)
        for reason in _pairs(results, name, [row for row in found if row.set == name])
    ]
    return Verdict("measured", f"{'; '.join(parts)}.", tuple(reasons))


def _pairs(results: Results, name: str, rows: Sequence[Probe]) -> list[str]:
    """What the probes of one set of pairs say: whether labels find a signal there, and whether CCS does without them."""
    if any(row.chosen is not None for row in rows):
        rows = [row for row in rows if row.chosen]
    ccs = next(row for row in rows if row.method == "ccs")
    told = "; ".join(f"{wording.finder(row.method)} {_accuracy(row)}" for row in rows)
    ceiling = next((row for row in rows if row.method in ("mean_difference", "logistic")), None)
    where = f"at layer {ceiling.layer}, chosen on training pairs" if ceiling else "at r̂'s layer"
    reasons = [f"Test accuracy on pairs of {name}, {where}: {told}."]
    if ceiling is None:  # an older file, which knows no ceiling
        reasons += [
            f"No unsupervised probe tells these {name} apart here; with {ccs.n_pairs} training pairs in "
            f"{results.model.d_model} dimensions CCS fits pure noise too, and without a ceiling nobody can say whether there is a signal."
        ] * all(row.verdict != "better" for row in rows)
    elif ccs.verdict == "better":
        reasons.append(f"CCS tells these {name} apart without labels.")
    elif ceiling.verdict != "better":
        reasons.append(
            f"No linear signal is shown in these pairs of {name}: a probe that is given the labels of {ccs.n_pairs} training "
            "pairs is not shown to be above chance either, so CCS's failure says nothing."
        )
    else:
        reasons.append(
            f"There is a linear signal in these pairs of {name}, since labels find it; CCS, without labels, does not."
        )
    return reasons


def _accuracy(row: Probe) -> str:
    return f"{wording.rate(joined(row, rate=row.accuracy))}, {chance(row)}"
