"""Pipeline: what an effect owes to the prompts that made a direction, beside those that it was measured on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.statistics.dependence import Groups, named_topics
from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_level, number_sample


def resampled_topics(groups: Groups, rng: np.random.Generator) -> NDArray[np.intp]:
    """One bootstrap sample of prompts by topic: which prompts, some of them several times and others never.

    As many topics are drawn with replacement as there are, and each brings all of its prompts, so that the number of prompts varies where
    topics differ in size.

    Raises:
        StatisticsError: if there are no prompts, or a topic is missing.
    """
    labels = named_topics(groups)
    if not len(labels):
        raise StatisticsError("resampled_topics: got no prompts, expected at least one with its topic")
    _, index = np.unique(labels, return_inverse=True)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    return np.concatenate([members[topic] for topic in rng.integers(len(members), size=len(members))])


def pipeline_interval(measured: Interval, effects: ArrayLike, level: float = 0.95) -> Interval:
    """The interval of an effect over both: the prompts that it was measured on, and those that the direction was made of.

    `measured` is the effect with its interval over the former alone, `effects` that of directions from bootstrap samples of the
    latter, on the same prompts and in the same unit. With s their standard deviation, k their number and t the quantile of
    k − 1 degrees of freedom, each end lies √((distance of the end of `measured`)² + (t s)²) from the estimate: variances add
    (Zou and Donner 2008), so it is never narrower than `measured`. It may leave the range of what is measured, such as −1 to 1: cut it.

    Raises:
        StatisticsError: if there are fewer than 2 effects, or one is not finite.
    """
    check_level(level)
    sample = number_sample(effects, "effects", at_least=2)
    from scipy.special import stdtrit

    k = len(sample)
    spread = float(stdtrit(k - 1, 0.5 + level / 2) * sample.std(ddof=1))
    below, above = measured.estimate - measured.low, measured.high - measured.estimate
    return Interval(
        estimate=measured.estimate,
        low=measured.estimate - float(np.hypot(below, spread)),
        high=measured.estimate + float(np.hypot(above, spread)),
        n=measured.n,
    )
