"""Judging comparisons: every p value of a question adjusted together, then a word for each row."""

from __future__ import annotations

from collections.abc import Sequence

from rhat.artifacts.rows import Comparison
from rhat.statistics import Judgement, fixed_sequence, holm_exclusive, judge, margin_tests
from rhat.statistics.judgement import ALPHA


def adjust(rows: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons judged after adjustment within each question.

    Of each row three nulls are tested, of which at most one can hold: no difference (exact McNemar), less by the margin or more,
    more by the margin or more (the two one-sided tests). They are adjusted together, so that a question's chance of any false word
    (better, worse, equivalent, non-inferior) is at most 5 %. Rows without their discordant counts are adjusted by McNemar alone.
    """
    adjusted: dict[int, Comparison] = {}
    for question in dict.fromkeys(row.question for row in rows):
        family = [index for index, row in enumerate(rows) if row.question == question]
        for index, p in zip(family, holm_exclusive([_nulls(rows[index]) for index in family]), strict=True):
            adjusted[index] = _judged(rows[index], [float(one) for one in p])
    return [adjusted[index] for index in range(len(rows))]


def _nulls(row: Comparison) -> list[float]:
    if row.treatment_only is None or row.reference_only is None:
        return [row.mcnemar_p]
    tested = margin_tests(row.treatment_only, row.reference_only, row.n, row.margin, row.design_effect or 1.0)
    return [row.mcnemar_p, tested.above_p, tested.below_p]


def _judged(row: Comparison, adjusted: list[float]) -> Comparison:
    if len(adjusted) == 1:
        return row.changed(holm_p=adjusted[0], verdict=judged(row, adjusted[0]))
    different, above, below = adjusted
    equivalence = max(above, below)
    row = row.changed(
        holm_p=different,
        equivalence_p=equivalence,
        noninferiority_p=above,
        equivalent=row.margin > 0 and equivalence < ALPHA,
        noninferior=row.margin > 0 and above < ALPHA,
    )
    return row.changed(verdict=judged(row, different))


def judged(row: Comparison, holm_p: float) -> Judgement:
    """The verdict on a comparison with a p value of its difference adjusted in some family."""
    word = judge((row.ci_low, row.ci_high), (row.ci90_low, row.ci90_high), row.margin, holm_p)
    return "undecided" if word == "equivalent" and not row.equivalent else word


def noninferior_in_sequence(compared: Sequence[Comparison]) -> list[float]:
    """p of "the treatment is not less by the margin, and neither was any before it", tested in the order given.

    At most 5 % of studies name a treatment that is. Comparisons without counts are read by their 90 % interval: 0 or 1.
    """
    p_values = [
        float(row.ci90_low <= -row.margin)
        if row.treatment_only is None or row.reference_only is None
        else margin_tests(row.treatment_only, row.reference_only, row.n, row.margin, row.design_effect or 1.0).above_p
        for row in compared
    ]
    return [float(p) for p in fixed_sequence(p_values)] if p_values else []
