"""Classes: how well a reading in several classes agrees with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rhat.errors import StatisticsError
from rhat.reprs import one_line
from rhat.statistics.intervals import Interval
from rhat.statistics.rates import wilson
from rhat.statistics.samples import check_level


@dataclass(frozen=True)
class ClassAccuracy:
    """How well one class is distinguished from the others.

    `sensitivity` is the share of the rows labelled so that are found to be, `specificity` the share of the others that
    are not (Wilson intervals); None where there is no such row.
    """

    sensitivity: Interval | None
    specificity: Interval | None

    __repr__ = one_line


def class_accuracy(labels: Sequence[str], found: Sequence[str], which: str, level: float = 0.95) -> ClassAccuracy:
    """Sensitivity and specificity for the class `which` of a reading `found` against `labels`, row by row.

    Raises:
        StatisticsError: if there are not as many labels as readings.
    """
    _same_length(labels, found)
    truly = [b == which for a, b in zip(labels, found, strict=True) if a == which]
    others = [b != which for a, b in zip(labels, found, strict=True) if a != which]
    return ClassAccuracy(*(wilson(sum(rows), len(rows), level) if rows else None for rows in (truly, others)))


def class_kappa(a: Sequence[str], b: Sequence[str], level: float = 0.95) -> Interval | None:
    """Cohen's kappa of two readings in any number of classes, with its large-sample interval cut to −1 … 1.

    statsmodels' `cohens_kappa` (Fleiss, Cohen and Everitt 1969). None where it is undefined: both gave one and the same
    class throughout. At perfect agreement the interval has no width.

    Raises:
        StatisticsError: if the lengths differ or there are no rows.
    """
    check_level(level)
    _same_length(a, b)
    if not a:
        raise StatisticsError("class_kappa: got no rows, expected at least one; check the filter")
    names = sorted(set(a) | set(b))
    if len(names) == 1:
        return None
    from scipy.special import ndtri
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.zeros((len(names), len(names)))
    for one, other in zip(a, b, strict=True):
        table[names.index(one), names.index(other)] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        result = cohens_kappa(table)
    half = float(ndtri(0.5 + level / 2)) * max(0.0, float(result.var_kappa)) ** 0.5
    kappa = float(result.kappa)
    return Interval(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), len(a))


def _same_length(a: Sequence[str], b: Sequence[str]) -> None:
    if len(a) != len(b):
        raise StatisticsError(f"got {len(a)} labels and {len(b)} readings, expected as many of each, row by row")
