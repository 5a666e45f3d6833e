"""A value among controls: its rank and the p value of a permutation test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rhat.errors import StatisticsError
from rhat.reprs import one_line
from rhat.statistics.samples import number_sample


@dataclass(frozen=True)
class Among:
    """Where a value stands among n controls: `rank` 1 is above them all, a tie counts against it; `best` is the highest control."""

    rank: int
    p: float
    best: float
    n: int

    __repr__ = one_line


def among(value: float, controls: ArrayLike) -> Among:
    """The rank of a value among controls, and p = (1 + controls at or above it) / (1 + controls), one-sided.

    Adding 1 counts the value itself as one draw: the p value is never 0, and false alarms stay at its level (Phipson and Smyth
    2010, doi 10.2202/1544-6115.1585). With n controls it is at least 1 / (n + 1): 20 are the fewest that can reach 5 %.

    Raises:
        StatisticsError: without controls, or where a number is not finite.
    """
    others = number_sample(controls, "controls")
    if not np.isfinite(value):
        raise StatisticsError(f"among: got the value {value}, expected a finite number")
    above = int((others >= value).sum())
    return Among(above + 1, (above + 1) / (len(others) + 1), float(others.max()), len(others))
