"""Bounds: whether a share is shown to lie below a limit, by the exact binomial test, and how many prompts that takes."""

from __future__ import annotations

import math

import numpy as np

from rhat.errors import StatisticsError
from rhat.statistics.dependence import check_design_effect
from rhat.statistics.samples import check_level, is_count

MOST = 20_000  # prompts that `prompts_to_bound` looks at


def share_below_p(count: int, n: int, limit: float, design_effect: float = 1.0) -> float:
    """p value of the null that the share is `limit` or more: P(Bin(n, limit) ≤ count).

    Exact for independent prompts (Clopper and Pearson 1934). A design effect (`dependence`) divides count and n, for which the
    binomial tail is written as a beta integral, I(1 − limit; n − count, count + 1); of both p values the larger one is returned, so
    dependence never makes a claim easier.

    Raises:
        StatisticsError: n < 1, count outside 0 … n, limit outside (0, 1), or design effect below 1.
    """
    _check_limit(limit)
    check_design_effect(design_effect)
    if not is_count(n, 1) or not is_count(count) or count > n:
        raise StatisticsError(f"share_below_p: got {count} of {n}, expected a whole number of at least one prompt")
    if count == n:
        return 1.0
    from scipy.special import betainc

    whole, worth = (
        float(betainc((n - count) / effect, count / effect + 1, 1 - limit)) for effect in (1.0, design_effect)
    )
    return max(whole, worth)


def fewest_to_bound(limit: float, level: float = 0.95) -> int:
    """The fewest prompts with which a share can be shown to lie below `limit` at all, that is if none of them counts.

    Raises:
        StatisticsError: limit or level outside (0, 1).
    """
    _check_limit(limit)
    check_level(level)
    fewest = math.log1p(-level) / math.log1p(-limit)
    if not math.isfinite(fewest):
        raise StatisticsError(f"limit: got {limit}, expected a share that some number of prompts can show")
    return math.ceil(fewest - 1e-9)


def prompts_to_bound(share: float, limit: float, level: float = 0.95, power: float = 0.8) -> int | None:
    """The fewest independent prompts with which `share_below_p` is at most 1 − level with chance `power`, if the share is `share`.

    None where no number up to 20 000 will do; so it is for a share that is not below the limit.

    Raises:
        StatisticsError: limit, level or power outside (0, 1), or share outside [0, 1].
    """
    _check_limit(limit)
    check_level(level)
    check_level(power)
    if not 0 <= share <= 1:
        raise StatisticsError(f"prompts_to_bound: got a share of {share}, expected 0 to 1")
    if share >= limit:
        return None
    from scipy.stats import binom

    n = np.arange(1, MOST + 1)
    most = binom.ppf(1 - level, n, limit)  # the smallest count whose tail reaches 1 − level
    most = np.where(binom.cdf(most, n, limit) > 1 - level, most - 1, most)
    found = np.flatnonzero((most >= 0) & (binom.cdf(most, n, share) >= power))
    return int(n[found[0]]) if len(found) else None


def _check_limit(limit: float) -> None:
    if not 0 < limit < 1:
        raise StatisticsError(f"limit: got {limit}, expected a share between 0 and 1; 20 % is 0.2")
