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
