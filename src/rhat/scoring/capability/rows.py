"""Rows: accuracy by category with its interval, and the paired difference from the unedited model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from rhat.artifacts.record import Count, Difference, Fraction, Judgement, Record, Share, unit
from rhat.scoring.capability.items import CATEGORIES, Item
from rhat.statistics import holm, judge, paired_comparison, wilson

ALL = "all"
MARGIN = 0.05


class CapabilityRow(Record):
    """Accuracy on one category, or on all items, of a model under an intervention or none."""

    category: str
    """arithmetic, cloze, format, knowledge, or all"""
    n: Annotated[Count, unit("items")]
    """items"""
    accuracy: Share
    """share of items whose right option is the likeliest; by chance 0.25"""
    ci_low: Share
    """lower end of Wilson's 95 % interval"""
    ci_high: Share
    """upper end of it"""
    before: Share | None = None
    """accuracy of the unedited model on the same items; absent, as all below, where there is no intervention"""
    difference: Difference | None = None
    """accuracy − before, item by item"""
    difference_low: Difference | None = None
    """lower end of Tango's 95 % interval of the difference"""
    difference_high: Difference | None = None
    """upper end of it"""
    holm_p: Fraction | None = None
    """exact McNemar p, adjusted by Holm over the rows of the table"""
    verdict: Judgement | None = None
    """better, worse, equivalent within the margin, or undecided"""


def capability_rows(
    items: Sequence[Item], right: Sequence[bool], before: Sequence[bool] | None = None, margin: float = MARGIN
) -> tuple[CapabilityRow, ...]:
    """One row a category, in the order of CATEGORIES, and one of all items; with `before`, what changed from it.

    The difference is judged by `rhat.statistics.judge`, with p values adjusted by Holm over these rows; it is equivalent where its
    90 % interval lies inside ±margin.
    """
    answered = np.asarray(right, dtype=bool)
    kinds = np.array([item.category for item in items])
    parts = {kind: kinds == kind for kind in CATEGORIES if (kinds == kind).any()} | {ALL: np.ones(len(items), bool)}
    rows = []
    for name, which in parts.items():
        n, found = int(which.sum()), wilson(int(answered[which].sum()), int(which.sum()))
        rows.append({"category": name, "n": n, "accuracy": found.estimate, "ci_low": found.low, "ci_high": found.high})
    if before is not None:
        plain = np.asarray(before, dtype=bool)
        pairs = [paired_comparison(answered[which], plain[which], margin=margin) for which in parts.values()]
        for row, pair, p in zip(rows, pairs, holm([pair.mcnemar_p for pair in pairs]), strict=True):
            ends = pair.ci_low, pair.ci_high
            row |= {
                "before": pair.reference_rate,
                "difference": pair.difference,
                "difference_low": pair.ci_low,
                "difference_high": pair.ci_high,
                "holm_p": float(p),
                "verdict": judge(ends, (pair.ci90_low, pair.ci90_high), margin, float(p)),
            }
    return tuple(CapabilityRow.of(row) for row in rows)
