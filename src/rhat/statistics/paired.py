"""Paired comparison: two conditions judged on the same prompts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.reprs import one_line
from rhat.statistics.dependence import Dependence, Groups, by_topic, check_design_effect, dependence
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
            0 and the discordant share as observed, in topics as large and as alike as these; None at margin 0.
        dependence: how alike the differences of one topic are; None where every prompt is on its own. Both intervals then are those
            of n / design effect prompts, and `mcnemar_p` is `sign_flip_p`'s.
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
    dependence: Dependence | None = None

    __repr__ = one_line


def tango_interval(b: int, c: int, n: int, level: float = 0.95, design_effect: float = 1.0) -> Interval:
    """Tango's score interval for the paired difference (b − c) / n: all Δ with |T(Δ)| ≤ z.

    T is `score_statistic`; its two roots are found by bracketing. Unlike Wald's it has width at b = c = 0
    (±z² / (n + z²)) and stays within −1 and 1. It takes the prompts as independent, or as worth n / design effect
    independent ones (`dependence` of the differences). Tango 1998, Statistics in Medicine 17:891.

    Raises:
        StatisticsError: negative or fractional counts, b + c > n, n < 1, or level outside (0, 1).
    """
    check_level(level)
    check_discordant(b, c, n)
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z = float(ndtri(0.5 + level / 2))
    estimate, prompts = (b - c) / n, int(n)
    check_design_effect(design_effect)
    if design_effect != 1:
        b, c, n = (count / design_effect for count in (b, c, n))  # type: ignore[assignment]

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

    if estimate > -1:
        low = limit(-1 + hair, estimate - hair, 1.0)
    if estimate < 1:
        high = limit(1 - hair, estimate + hair, -1.0)
    return Interval(estimate=estimate, low=low, high=high, n=prompts)


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


def sign_flip_p(differences: ArrayLike, groups: Groups) -> float:
    """Exact two-sided p of differences of −1, 0 and 1 whose topics are the units: is their sum as far from 0 by chance?

    If treatment and reference answer alike, exchanging them throughout a topic changes nothing, so each topic's sum has either sign
    with equal chance; the p is the share of all 2^G choices of signs whose total is as far from 0 as the observed one. Where every
    prompt has a topic of its own it is `mcnemar_exact`. Fisher 1935; Gail et al. 1996 on groups.

    Raises:
        StatisticsError: if there is not one topic for each difference, or a difference is no whole number.
    """
    sample, index, _ = by_topic(differences, groups)
    if not (sample == np.round(sample)).all():
        raise StatisticsError(
            "sign_flip_p: got a difference that is no whole number, expected −1, 0 or 1 for each prompt"
        )
    sums = np.bincount(index, weights=sample).round().astype(int)
    sizes = np.abs(sums[sums != 0])
    reach = int(sizes.sum())
    chance = np.zeros(2 * reach + 1)  # of each total, from −reach to reach
    chance[reach] = 1.0
    for size in sizes:
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(sums.sum()))
    return min(1.0, float(chance[far].sum()))


def _times(prompts: int | None, effect: float) -> int | None:
    return None if prompts is None else int(np.ceil(prompts * effect - 1e-9))


def paired_comparison(
    treatment: ArrayLike,
    reference: ArrayLike,
    *,
    margin: float = 0.10,
    level: float = 0.95,
    groups: Groups | None = None,
) -> PairedComparison:
    """Compare two conditions' verdicts on the same prompts in the same order.

    The fields are explained at PairedComparison. `groups` is the topic of each prompt: prompts of one topic are not independent. Where
    every prompt has a topic of its own nothing changes.

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
    differences = first.astype(float) - second
    alike = dependence(differences, groups)
    effect = 1.0 if alike is None else alike.design_effect
    wide, narrow = tango_interval(b, c, n, level, effect), tango_interval(b, c, n, 0.90, effect)
    p = mcnemar_exact(b, c) if alike is None or groups is None else sign_flip_p(differences, groups)
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
        prompts_needed=_times(prompts_needed(share, margin), effect),
        dependence=alike,
    )
