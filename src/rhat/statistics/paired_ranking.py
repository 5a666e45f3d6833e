"""Two scores of the same prompts: whose ranking is better."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_level, check_same_length, number_sample


def auroc_difference(
    positive: tuple[ArrayLike, ArrayLike], negative: tuple[ArrayLike, ArrayLike], level: float = 0.95
) -> Interval:
    """AUROC of the first score minus that of the second, on the same positives and negatives, with DeLong's paired interval (1988).

    The variance is that of the differences of both scores' placement values, prompt by prompt; it is 0 where both rank alike.

    Raises:
        StatisticsError: a side without prompts, sides of different lengths, or a number that is not finite.
    """
    check_level(level)
    from scipy.stats import norm

    above, below = [], []
    for one, other in zip(positive, negative, strict=True):
        high, low = number_sample(one, "positive"), number_sample(other, "negative")
        above.append(_beaten(high, low))
        below.append(1 - _beaten(low, high))
    check_same_length(above[0], above[1], "the first score's positives", "the second score's")
    check_same_length(below[0], below[1], "the first score's negatives", "the second score's")
    apart = above[0] - above[1], below[0] - below[1]
    difference = float(apart[0].mean())
    variance = sum(float(side.var(ddof=1)) / len(side) for side in apart if len(side) > 1)
    half = float(norm.ppf(0.5 + level / 2)) * variance**0.5
    return Interval(estimate=difference, low=difference - half, high=difference + half, n=len(apart[0]) + len(apart[1]))


def _beaten(mine: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the others that each beats, ties counting one half."""
    gap = mine[:, None] - others[None]
    return np.asarray((gap > 0).mean(1) + (gap == 0).mean(1) / 2, dtype=np.float64)
