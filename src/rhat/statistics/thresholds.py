"""Thresholds: calibrate a guard on negatives, and say what to expect of new ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rhat.errors import StatisticsError
from rhat.reprs import one_line
from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_level, number_sample


@dataclass(frozen=True)
class CalibratedThreshold:
    """A threshold on a score; a prompt is flagged where its score > `value` (strictly).

    `value` is in the unit of the score, and one of the `n` calibration scores. `above` of those lie above it,
    at most `target_fpr` · n. `false_positive_rate` is what to expect on new negatives like these: its
    estimate is (above + 1) / (n + 1), a little more than above / n.
    """

    value: float
    target_fpr: float
    above: int
    n: int
    false_positive_rate: Interval

    __repr__ = one_line


def threshold_at_fpr(negative: ArrayLike, fpr: float, level: float = 0.95) -> CalibratedThreshold:
    """The lowest threshold with at most a share `fpr` of the negatives above it.

    Rule: with k = floor(fpr · n), the (n − k)-th smallest score, never an interpolated one. The rate of new
        negatives
    above the r-th smallest of n is Beta(n − r + 1, r): that is Beta(k + 1, n − k), whose mean and equal tails
    are the expected rate and its interval (Wilks 1941). Exact for continuous scores whatever their
    distribution; approximate with ties, where fewer than k may lie above and that number takes the place of
    k. To keep the expected rate itself at or under q, ask for fpr = (q (n + 1) − 1) / n.

    Raises:
        StatisticsError: no negatives, a NaN or an infinity, or fpr outside [0, 1).
    """
    check_level(level)
    scores = np.sort(number_sample(negative, "negative"))
    if not 0.0 <= fpr < 1.0:
        raise StatisticsError(f"threshold_at_fpr: got fpr={fpr}, expected 0 ≤ fpr < 1; 5 % is fpr=0.05")
    from scipy.stats import beta

    n = len(scores)
    # 0.29 * 100 is 28.999…96 in floating point, and 29 is meant.
    k = int(np.floor(fpr * n + 1e-9))
    value = float(scores[n - k - 1])
    above = int(np.count_nonzero(scores > value))
    tail = (1 - level) / 2
    low, high = beta.ppf([tail, 1 - tail], above + 1, n - above)
    expected = Interval(estimate=(above + 1) / (n + 1), low=float(low), high=float(high), n=n)
    return CalibratedThreshold(value=value, target_fpr=float(fpr), above=above, n=n, false_positive_rate=expected)
