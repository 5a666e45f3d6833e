"""Two scores of the same prompts: whose ranking is better."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.statistics.dependence import Groups
from rhat.statistics.intervals import Interval
from rhat.statistics.ranking import placement_variance
from rhat.statistics.samples import check_level, check_same_length, number_sample


def auroc_difference(
    positive: tuple[ArrayLike, ArrayLike],
    negative: tuple[ArrayLike, ArrayLike],
    level: float = 0.95,
    *,
    groups: tuple[Groups, Groups] | None = None,
) -> Interval:
    """AUROC of the first score minus that of the second, on the same positives and negatives, with DeLong's paired interval (1988).

    The variance is that of the differences of both scores' placement values, prompt by prompt; it is 0 where both rank alike.
    `groups` are the topics of the positives and of the negatives, which are clusters as in `auroc`; with a single topic on a side nothing is
    known, and the interval is [−1, 1].

    Raises:
        StatisticsError: a side without prompts, sides of different lengths, a number that is not finite, or not one topic for each prompt.
    """
    check_level(level)
    from scipy.special import ndtri

    above, below = [], []
    for one, other in zip(positive, negative, strict=True):
        high, low = number_sample(one, "positive"), number_sample(other, "negative")
        above.append(_beaten(high, low))
        below.append(1 - _beaten(low, high))
    check_same_length(above[0], above[1], "the first score's positives", "the second score's")
    check_same_length(below[0], below[1], "the first score's negatives", "the second score's")
    apart = above[0] - above[1], below[0] - below[1]
    difference = float(apart[0].mean())
    n = len(apart[0]) + len(apart[1])
    if groups is None:
        variance = sum(float(side.var(ddof=1)) / len(side) for side in apart if len(side) > 1)
    else:
        variance, units = placement_variance(*apart, groups)
        if units < 2:
            return Interval(estimate=difference, low=-1.0, high=1.0, n=n)
    half = float(ndtri(0.5 + level / 2)) * variance**0.5
    return Interval(estimate=difference, low=difference - half, high=difference + half, n=n)


def _beaten(mine: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the others that each beats, ties counting one half."""
    gap = mine[:, None] - others[None]
    return np.asarray((gap > 0).mean(1) + (gap == 0).mean(1) / 2, dtype=np.float64)
