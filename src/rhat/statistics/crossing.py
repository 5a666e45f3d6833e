"""Crossing: the dose at which the mean of something reaches a value, where every dose was tried on the same prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.statistics.dependence import Groups, named_topics
from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_level, is_count, number_sample

LEAST = 1e-12  # a mean of 0 has no logarithm


def crossing_dose(
    doses: ArrayLike,
    values: ArrayLike,
    wanted: float,
    groups: Groups | None = None,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """The dose at which the mean of `values` [doses, prompts] is `wanted`, with a percentile interval over prompts.

    Means of neighbouring doses are joined by straight lines in log dose and log mean, made rising by their running maximum; beyond
    the outermost doses the outermost line goes on. The interval is that of a bootstrap: topics are drawn again with replacement,
    all their prompts at all doses with them, and each draw's curve is crossed; percentiles are as far out as few topics ask for
    (Hesterberg 2015, The American Statistician 69:371, the expanded percentile interval). It speaks of the prompts and not of the lines
    between doses: those lie close together where it matters. `n` is the number of prompts; doses are above 0, values 0 or more.

    Raises:
        StatisticsError: if there are fewer than 2 different doses or prompts, a dose or `wanted` is not above 0, a value is negative,
            or a topic is missing.
    """
    check_level(level)
    dose = number_sample(doses, "doses", at_least=2)
    table = _rows_of(values, len(dose))
    if len(np.unique(dose)) < len(dose) or dose.min() <= 0 or not (np.isfinite(wanted) and wanted > 0):
        raise StatisticsError(
            f"crossing_dose: got {len(dose)} doses and {wanted}, expected different doses and a value above 0"
        )
    if not (is_count(draws, 1) and is_count(seed)):
        raise StatisticsError(f"crossing_dose: got {draws} draws and the seed {seed!r}, expected whole numbers")
    order = np.argsort(dose)
    dose, table = dose[order], table[order]
    n = table.shape[1]
    topics = np.arange(n) if groups is None or not len(groups) else named_topics(groups)
    if len(topics) != n:
        raise StatisticsError(f"groups: got {len(topics)} for {n} prompts, expected a topic for each")
    names, index = np.unique(topics, return_inverse=True)
    index = index.reshape(-1) if len(names) > 1 else np.arange(n)  # of one topic prompts are taken as independent
    count = int(index.max()) + 1
    sums, sizes = table @ np.eye(count)[index], np.bincount(index)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    means = (drawn @ sums.T) / (drawn @ sizes)[:, None]
    estimate = _crossed(dose, table.mean(1), wanted)
    found = [_crossed(dose, mean, wanted) for mean in means]
    from scipy.special import ndtr, stdtrit

    tail = float(ndtr(-np.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.5 + level / 2)))
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(estimate=estimate, low=min(float(low), estimate), high=max(float(high), estimate), n=n)


def _crossed(dose: NDArray[np.float64], mean: NDArray[np.float64], wanted: float) -> float:
    """Where the curve through these means reaches `wanted`; the first such dose."""
    x, y = np.log(dose), np.log(np.maximum.accumulate(np.maximum(mean, LEAST)))
    goal = np.log(wanted)
    last = len(x) - 2
    i = min(max(int(np.searchsorted(y, goal)) - 1, 0), last)
    rise = y[i + 1] - y[i]
    if rise < 1e-9:  # flat there, which happens at the ends alone: the mean slope of all
        rise = max(float(y[-1] - y[0]) / float(x[-1] - x[0]), 0.1) * (x[i + 1] - x[i])
    return float(np.exp(x[i] + (goal - y[i]) / rise * (x[i + 1] - x[i])))


def _rows_of(values: ArrayLike, n: int) -> NDArray[np.float64]:
    """A row of finite numbers from 0 on for each of n doses, at least 2 in each.

    Raises:
        StatisticsError: if they are something else.
    """
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise StatisticsError(
            f"values: expected rows of numbers of one length, one row for each dose ({error})"
        ) from error
    if table.ndim != 2 or len(table) != n or table.shape[1] < 2 or not (np.isfinite(table) & (table >= 0)).all():
        raise StatisticsError(
            f"values: got an array of shape {table.shape} for {n} doses, expected a row of finite numbers from 0 on for each "
            "dose, one for each prompt, and 2 prompts at least"
        )
    return table
