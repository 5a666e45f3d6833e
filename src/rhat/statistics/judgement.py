"""Judgement: what an interval, a margin and an adjusted p value say of a difference. The only rule there is."""

from __future__ import annotations

import math
from typing import Literal

from rhat.errors import StatisticsError

Judgement = Literal["better", "worse", "equivalent", "undecided"]
"""The judgement of a difference against a margin, after adjustment for multiplicity."""

Ends = tuple[float, float]  # the lower and the upper end of an interval
ALPHA = 0.05


def judge(
    interval95: Ends, interval90: Ends | None = None, margin: float | None = None, holm_p: float | None = None
) -> Judgement:
    """The judgement of a difference, treatment − reference; more counts as better.

    better, worse: the 95 % interval leaves 0 out and the p value, adjusted for its family, is below 5 %. A row without
    p value is judged by its interval alone.
    equivalent: neither, and the 90 % interval lies strictly inside ±margin (two one-sided tests, each at 5 %).
    undecided: none of these.
    A difference can be clear and small: it is better or worse, and `within_margin` says that it is by less than the margin.

    Raises:
        StatisticsError: if an end is not a finite number, the ends stand the wrong way round, the margin is not a finite number
            of 0 or more, or the p value is none.
    """
    _check(interval95)
    if holm_p is not None and not 0 <= holm_p <= 1:
        raise StatisticsError(f"judge: got the p value {holm_p}, expected a number from 0 to 1")
    if margin is not None:
        _check_margin(margin)
    if interval90 is not None:
        _check(interval90)
    clear = holm_p is None or holm_p < ALPHA
    if clear and interval95[0] > 0:
        return "better"
    if clear and interval95[1] < 0:
        return "worse"
    if interval90 is not None and margin is not None and within_margin(interval90, margin):
        return "equivalent"
    return "undecided"


def within_margin(interval90: Ends, margin: float) -> bool:
    """Whether the 90 % interval lies strictly inside ±margin: the difference is shown to be smaller than the margin."""
    _check(interval90)
    _check_margin(margin)
    return -margin < interval90[0] and interval90[1] < margin


def noninferior(interval90: Ends, margin: float) -> bool:
    """Whether the 90 % interval lies above −margin: the treatment is shown to be less by less than the margin, one-sided at 5 %."""
    _check(interval90)
    _check_margin(margin)
    return interval90[0] > -margin


def _check(ends: Ends) -> None:
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise StatisticsError(f"judge: got an interval from {low} to {high}, expected two finite ends, the lower first")


def _check_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin >= 0):
        raise StatisticsError(f"judge: got the margin {margin}, expected a finite number of 0 or more")
