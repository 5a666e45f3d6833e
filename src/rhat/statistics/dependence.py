"""Dependence: prompts of one topic answer alike; how much that is, and how many independent prompts they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.reprs import one_line
from rhat.statistics.samples import number_sample

Groups = Sequence[str] | Sequence[int] | np.ndarray
"""The topic of each prompt; prompts of one topic are one cluster."""


@dataclass(frozen=True)
class Dependence:
    """How similar the values of one topic are.

    n              prompts
    clusters       topics
    icc            intraclass correlation, at least 0: the share of the variance that lies between topics
    design_effect  variance of the mean over that of n independent prompts, at least 1: they are worth n / design_effect of these
    """

    n: int
    clusters: int
    icc: float
    design_effect: float

    __repr__ = one_line


def dependence(values: ArrayLike, groups: Groups | None) -> Dependence | None:
    """The intraclass correlation of `values` within `groups`, and its design effect; None where every prompt is on its own.

    None also where all are of one topic: nothing is known of others then, and an interval speaks of this one.

    ICC = (MSB − MSW) / (MSB + (m₀ − 1) MSW), from the one-way analysis of variance with m₀ = (n − Σ m² / n) / (G − 1) for G topics of m
    prompts each, cut to 0 … 1. Design effect = (1 + (Σ m² / n − 1) ICC) (t / z)² where ICC > 0, else 1: Kish's (1965), with the mean topic size as
    a prompt sees it, times what few topics cost, the 97.5 % quantiles of t with G − 1 degrees of freedom and of the normal (Korn and
    Graubard 1998). Values that are all alike tell nothing of their dependence: ICC 0.

    Raises:
        StatisticsError: if there is not one topic for each value, or a value is not finite.
    """
    if groups is None or not len(groups):
        return None
    sample, index, sizes = by_topic(values, groups)
    n, clusters = len(sample), len(sizes)
    if clusters in (1, n):
        return None
    means = np.bincount(index, weights=sample) / sizes
    within = float(np.sum((sample - means[index]) ** 2)) / (n - clusters)
    between = float(np.sum(sizes * (means - sample.mean()) ** 2)) / (clusters - 1)
    seen = float(np.sum(sizes**2)) / n
    middle = (n - seen) / (clusters - 1)
    whole = between + (middle - 1) * within
    icc = min(1.0, max(0.0, (between - within) / whole)) if whole > 1e-20 else 0.0
    if icc == 0:
        return Dependence(n, clusters, 0.0, 1.0)
    from scipy.special import ndtri, stdtrit

    few = float(stdtrit(clusters - 1, 0.975) / ndtri(0.975)) ** 2
    return Dependence(n, clusters, icc, (1 + (seen - 1) * icc) * few)


def design_effect(values: ArrayLike, groups: Groups | None) -> float:
    """The design effect of `dependence`; 1 where every prompt is on its own."""
    found = dependence(values, groups)
    return 1.0 if found is None else found.design_effect


def by_topic(values: ArrayLike, groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.int64]]:
    """The values, the number of each one's topic, and how many values each topic has.

    Raises:
        StatisticsError: if there is not one topic for each value, one is missing, or a value is not finite.
    """
    sample, labels = number_sample(values, "values"), named_topics(groups)
    if labels.shape != sample.shape:
        raise StatisticsError(
            f"groups: got {len(labels)} for {len(sample)} prompts, expected a topic for each; align them by prompt id"
        )
    _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return sample, index.reshape(-1), sizes


def named_topics(groups: Groups) -> np.ndarray:
    """Topics as an array.

    Raises:
        StatisticsError: if one is None or NaN.
    """
    missing = sum(map(_missing, groups))
    if missing:
        raise StatisticsError(
            f"groups: got {missing} None or NaN among {len(groups)}, expected a topic for every prompt; name them, or drop "
            "those prompts"
        )
    return np.asarray(groups)


def _missing(group: object) -> bool:
    """Whether a topic is None, NaN or another mark of a missing value: those are not equal to themselves."""
    try:
        return group is None or bool(group != group)
    except TypeError:  # pandas.NA, which is neither
        return True


def check_design_effect(effect: float) -> None:
    """Raise StatisticsError unless a design effect is a finite number of at least 1."""
    if not (np.isfinite(effect) and effect >= 1):
        raise StatisticsError(f"design_effect: got {effect}, expected a finite number of 1 or more; see `dependence`")
