"""Clusters: prompts of one topic are not independent; how much wider does that make the interval?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rhat.errors import StatisticsError
from rhat.statistics.dependence import named_topics
from rhat.statistics.samples import check_finite, check_level, check_same_length, number_sample


@dataclass(frozen=True)
class ClusteredDifference:
    """A paired mean difference whose interval allows for topics.

    `estimate` is the mean of treatment − reference over the `n` prompts (a difference of shares for
    verdicts); `low` and `high` come from the cluster-robust standard error and t with `clusters` − 1 degrees
    of freedom. `design_effect` is the robust variance over that of independent prompts: above 1, topics
    matter, and the prompts are worth n / design_effect independent ones. None where the prompts do not vary
    at all.
    """

    estimate: float
    low: float
    high: float
    n: int
    clusters: int
    design_effect: float | None

    def __post_init__(self) -> None:
        check_finite("clustered difference", self.estimate, self.low, self.high)


def cluster_mean_difference(
    treatment: ArrayLike,
    reference: ArrayLike,
    groups: Sequence[str] | Sequence[int] | np.ndarray,
    level: float = 0.95,
) -> ClusteredDifference:
    """Mean of treatment − reference with a topic-cluster-robust interval; `groups` names each prompt's topic.

    With d the difference of each prompt, variance = G / (G − 1) · Σ_g (Σ_{i in g} (d_i − mean d))² / n² over
    the G topics (Liang and Zeger 1986 with the CR1 factor: statsmodels' `cov_type="cluster"` for an intercept
    alone). Verdicts and scores both do. With few topics (under about 10) even this interval tends to be too
    narrow.

    Raises:
        StatisticsError: lengths differ, fewer than 2 prompts or 2 topics, or a NaN or an infinity.
    """
    check_level(level)
    first = number_sample(treatment, "treatment", at_least=2)
    second = number_sample(reference, "reference", at_least=2)
    check_same_length(first, second, "treatment", "reference")
    labels = named_topics(groups)
    check_same_length(first, labels, "treatment", "groups")
    names, index = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise StatisticsError(
            f"groups: got {len(names)} topic, expected at least 2; use paired_comparison when topics are unknown"
        )
    from scipy.special import stdtrit

    difference = first - second
    n, clusters = len(difference), len(names)
    mean = float(difference.mean())
    sums = np.bincount(index, weights=difference - mean)
    variance = clusters / (clusters - 1) * float(np.sum(sums**2)) / n**2
    independent = float(difference.var(ddof=1)) / n
    half = float(stdtrit(clusters - 1, 0.5 + level / 2)) * variance**0.5
    return ClusteredDifference(
        estimate=mean,
        low=mean - half,
        high=mean + half,
        n=n,
        clusters=clusters,
        design_effect=variance / independent if independent > 0 else None,
    )
