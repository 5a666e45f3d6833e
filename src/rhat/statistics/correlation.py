"""Correlation: do two scores put the prompts in the same order?"""

import numpy as np
from numpy.typing import ArrayLike

from rhat.errors import StatisticsError
from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_level, check_same_length, number_sample


def spearman(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Interval:
    """Spearman's rank correlation with the Fisher z interval of Bonett and Wright (2000).

    The interval is tanh(atanh(r) ± z · √((1 + r²/2) / (n − 3))); −1 to 1, ties by mean ranks. At r = ±1,
    where that has no width, it is taken at the largest value below 1 that untied ranks can have, 1 − 12 / (n
    (n² − 1)), and its outer end is ±1.

    Raises:
        StatisticsError: lengths differ, fewer than 4 pairs, a NaN, or a side whose values are all equal.
    """
    check_level(level)
    first = number_sample(x, "x", at_least=4)
    second = number_sample(y, "y", at_least=4)
    check_same_length(first, second, "x", "y")
    for name, sample in (("x", first), ("y", second)):
        if sample.min() == sample.max():
            raise StatisticsError(
                f"spearman: got {name} with all {len(sample)} values equal, expected some order; "
                f"a constant score has no correlation"
            )
    from scipy.special import ndtri
    from scipy.stats import spearmanr

    n = len(first)
    r = float(np.clip(spearmanr(first, second).statistic, -1.0, 1.0))
    nearest = 1 - 12 / (n * (n * n - 1))
    inner = float(np.clip(r, -nearest, nearest))
    half = float(ndtri(0.5 + level / 2)) * ((1 + inner**2 / 2) / (n - 3)) ** 0.5
    low, high = np.tanh(np.arctanh(inner) + np.array([-half, half]))
    return Interval(
        estimate=r,
        low=-1.0 if r < -nearest else float(low),
        high=1.0 if r > nearest else float(high),
        n=n,
    )
