"""Means: of one value per prompt, and of paired differences."""

import numpy as np
from numpy.typing import ArrayLike

from rhat.statistics.dependence import Groups, by_topic
from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_level, check_same_length, number_sample


def mean_interval(values: ArrayLike, level: float = 0.95, groups: Groups | None = None) -> Interval:
    """Mean ± t(n − 1) · s / √n, in the unit of `values`; s with n − 1.

    Identical values give an interval of no width, which says only that no spread was seen. With `groups`, the topic of each value, the
    variance is G / (G − 1) · Σ_g (Σ_{i in g} (x_i − mean))² / n² over G topics and t has G − 1 degrees of freedom, as in
    `cluster_mean_difference`; where each value has a topic of its own that is the same. Values of one topic are
    taken as independent: the interval speaks of that topic.

    Raises:
        StatisticsError: fewer than 2 values, or a NaN or an infinity.
    """
    check_level(level)
    sample = number_sample(values, "values", at_least=2)
    from scipy.special import stdtrit

    n = len(sample)
    mean = float(sample.mean())
    clusters, error = n, sample.std(ddof=1) / np.sqrt(n)
    if groups is not None and len(groups):
        _, index, sizes = by_topic(sample, groups)
        if len(sizes) > 1:
            clusters, sums = len(sizes), np.bincount(index, weights=sample - mean)
            error = np.sqrt(clusters / (clusters - 1) * np.sum(sums**2)) / n
    half = float(stdtrit(clusters - 1, 0.5 + level / 2) * error)
    return Interval(estimate=mean, low=mean - half, high=mean + half, n=n)


def mean_p(values: ArrayLike, groups: Groups | None = None) -> float:
    """Two-sided p of a mean of 0, by the t of `mean_interval`: below 5 % just where its 95 % interval leaves 0 out.

    Where nothing varies there is no t: then 1 if all values are 0, else the chance that all topics have the same sign, 2 · 0.5^G.

    Raises:
        StatisticsError: fewer than 2 values, or a NaN or an infinity.
    """
    from scipy.special import stdtr, stdtrit

    found = mean_interval(values, groups=groups)
    topics = 1 if groups is None or not len(groups) else len(by_topic(np.asarray(values, dtype=np.float64), groups)[2])
    clusters = topics if topics > 1 else found.n
    error = (found.high - found.low) / 2 / float(stdtrit(clusters - 1, 0.975))
    if error <= 1e-12 * abs(found.estimate) or found.estimate == 0:
        return 1.0 if found.estimate == 0 else max(2 * 0.5**clusters, 1e-300)
    return float(2 * stdtr(clusters - 1, -abs(found.estimate) / error))


def paired_mean_difference(treatment: ArrayLike, reference: ArrayLike, level: float = 0.95) -> Interval:
    """Mean of treatment − reference over the same prompts in the same order, with the paired t interval.

    Positive where the treatment is higher; n is the number of prompts.

    Raises:
        StatisticsError: lengths differ, fewer than 2 prompts, or a NaN or an infinity.
    """
    first = number_sample(treatment, "treatment", at_least=2)
    second = number_sample(reference, "reference", at_least=2)
    check_same_length(first, second, "treatment", "reference")
    return mean_interval(first - second, level)
