"""Paired comparison: two conditions judged on the same prompts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.reprs import one_line
from rhat.statistics.equivalence import prompts_needed
from rhat.statistics.intervals import Interval
from rhat.statistics.judgement import Judgement, judge, noninferior, within_margin
from rhat.statistics.samples import boolean_sample, check_discordant, check_level, check_same_length
from rhat.statistics.score import score_statistic


@dataclass(frozen=True)
class PairedComparison:
    """How often the treatment's verdict is true, less how often the reference's is, on the same `n` prompts.

    Rates and differences are shares (0.1 is 10 percentage points); positive where the treatment is more often
    true.

    Attributes:
        n: prompts.
        b: prompts where only the treatment is true.
        c: prompts where only the reference is true.
        discordant_share: (b + c) / n.
        treatment_rate: share true under the treatment.
        reference_rate: share true under the reference.
        difference: treatment_rate − reference_rate = (b − c) / n.
        ci_low: lower end of Tango's interval at `level`.
        ci_high: upper end of it.
        ci90_low: lower end of Tango's 90 % interval, whatever `level` is.
        ci90_high: upper end of it.
        level: of ci_low and ci_high.
        mcnemar_p: exact, two-sided, not adjusted for other comparisons.
        margin: the difference that is too small to matter, as a share.
        equivalent: the 90 % interval lies strictly within ±margin: two one-sided tests, each at 5 %.
        noninferior: ci90_low > −margin: the treatment is not less often true by the margin or more, one-sided
            at 5 %.
        verdict: what `judge` says of it as the only comparison of its family. "Better" means more often true,
            whatever that is worth; with `equivalent` as well it is so by less than the margin.
        prompts_needed: prompts for 80 % power to show equivalence at this margin if the true difference were
            0 and the discordant share as observed; None at margin 0.
    """

    n: int
    b: int
    c: int
    discordant_share: float
    treatment_rate: float
    reference_rate: float
    difference: float
    ci_low: float
    ci_high: float
    ci90_low: float
    ci90_high: float
    level: float
    mcnemar_p: float
    margin: float
    equivalent: bool
    noninferior: bool
    verdict: Judgement
    prompts_needed: int | None

    __repr__ = one_line


def tango_interval(b: int, c: int, n: int, level: float = 0.95) -> Interval:
    """Tango's score interval for the paired difference (b − c) / n: all Δ with |T(Δ)| ≤ z.

    T is `score_statistic`; its two roots are found by bracketing. Unlike Wald's it has width at b = c = 0
    (±z² / (n + z²)) and stays within −1 and 1. It takes the prompts as independent. Tango 1998, Statistics in
    Medicine 17:891.

    Raises:
        StatisticsError: negative or fractional counts, b + c > n, n < 1, or level outside (0, 1).
    """
    check_level(level)
    check_discordant(b, c, n)
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + level / 2))
    estimate = (b - c) / n

    def excess(delta: float, side: float) -> float:
        return float(score_statistic(b, c, n, delta)) - side * z

    # T falls from +inf at −1 through 0 at the estimate to −inf at 1. It is 0/0 where the estimate or the end
    # has no variance, so start a hair inside; the limits are never that near, being at least about z² / n
    # away.
    hair = 1e-9 / n
    low, high = -1.0, 1.0

    def limit(outer: float, inner: float, side: float) -> float:
        if not excess(outer, side) * excess(inner, side) < 0:  # a level near 0: nearer to the estimate than a hair
            return estimate
        return float(brentq(excess, outer, inner, args=(side,), xtol=1e-13))

    if b - c > -n:
        low = limit(-1 + hair, estimate - hair, 1.0)
    if b - c < n:
        high = limit(1 - hair, estimate + hair, -1.0)
    return Interval(estimate=estimate, low=low, high=high, n=int(n))


def mcnemar_exact(b: int, c: int) -> float:
    """Exact two-sided McNemar p: the sign test of b against c, b ~ Binomial(b + c, ½). 1 when there are none.

    Raises:
        StatisticsError: negative or fractional counts.
    """
    check_discordant(b, c, None)
    if b + c == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(int(b), int(b + c), 0.5).pvalue)


def paired_comparison(
    treatment: ArrayLike, reference: ArrayLike, *, margin: float = 0.10, level: float = 0.95
) -> PairedComparison:
    """Compare two conditions' verdicts on the same prompts in the same order.

    The fields are explained at PairedComparison.

    Raises:
        StatisticsError: lengths differ, no prompts, a NaN, values other than True and False, margin outside
            [0, 1).
    """
    first: NDArray[np.bool_] = boolean_sample(treatment, "treatment")
    second: NDArray[np.bool_] = boolean_sample(reference, "reference")
    check_same_length(first, second, "treatment", "reference")
    if not 0.0 <= margin < 1.0:
        raise StatisticsError(
            f"margin: got {margin}, expected a share from 0 to below 1; 10 percentage points is margin=0.10"
        )
    n = len(first)
    b, c = int(np.sum(first & ~second)), int(np.sum(~first & second))
    wide, narrow = tango_interval(b, c, n, level), tango_interval(b, c, n, 0.90)
    p = mcnemar_exact(b, c)
    ends90 = narrow.low, narrow.high
    share = (b + c) / n
    return PairedComparison(
        n=n,
        b=b,
        c=c,
        discordant_share=share,
        treatment_rate=float(first.mean()),
        reference_rate=float(second.mean()),
        difference=wide.estimate,
        ci_low=wide.low,
        ci_high=wide.high,
        ci90_low=narrow.low,
        ci90_high=narrow.high,
        level=level,
        mcnemar_p=p,
        margin=margin,
        equivalent=within_margin(ends90, margin),
        noninferior=noninferior(ends90, margin),
        verdict=judge((wide.low, wide.high), ends90, margin, p),
        prompts_needed=prompts_needed(share, margin),
    )
