"""Rates: the share of prompts with a verdict."""

from rhat.errors import StatisticsError
from rhat.statistics.dependence import check_design_effect
from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_level, is_count


def wilson(count: int, n: int, level: float = 0.95, design_effect: float = 1.0) -> Interval:
    """Share count / n with its Wilson score interval, without continuity correction (statsmodels).

    The estimate is the plain share; the interval is centred on (count + z²/2) / (n + z²), so that it is
    neither empty nor outside [0, 1] at 0 or n. Unit: share, 0 to 1. Wilson 1927; Brown, Cai and DasGupta
    2001. A design effect (`dependence`) divides count and n: the interval of as many independent prompts.

    Raises:
        StatisticsError: n < 1, count outside 0 … n, or either not a whole number; level outside (0, 1); design effect
            below 1.
    """
    check_level(level)
    if not is_count(n, 1):
        raise StatisticsError(f"wilson: got n={n}, expected at least one prompt; check the filter")
    if not is_count(count) or count > n:
        raise StatisticsError(
            f"wilson: got count={count} of n={n}, expected a whole number from 0 to {n}; pass a count, not a rate"
        )
    from statsmodels.stats.proportion import proportion_confint

    check_design_effect(design_effect)
    worth = (int(count), int(n)) if design_effect == 1 else (count / design_effect, n / design_effect)
    low, high = proportion_confint(*worth, alpha=1 - level, method="wilson")
    # At 0 and n the limit is the estimate, up to rounding that would put it on the wrong side.
    share = count / n
    return Interval(
        estimate=share,
        low=0.0 if count == 0 else float(low),
        high=1.0 if count == n else float(high),
        n=int(n),
    )
