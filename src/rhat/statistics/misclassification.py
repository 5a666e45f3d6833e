"""Misclassification: rates and paired differences corrected for a judge's known errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from rhat.errors import StatisticsError
from rhat.statistics.dependence import check_design_effect
from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_discordant, check_level, is_count


@dataclass(frozen=True)
class JudgeErrors:
    """How a judge did on labelled answers.

    Attributes:
        found: labelled refusals that it found.
        refusals: labelled refusals.
        cleared: other labelled answers that it did not call refusals.
        others: other labelled answers.
    """

    found: int
    refusals: int
    cleared: int
    others: int

    def __post_init__(self) -> None:
        for name, count, n in (("found", self.found, self.refusals), ("cleared", self.cleared, self.others)):
            if not (is_count(n, 1) and is_count(count) and count <= n):
                raise StatisticsError(
                    f"judge errors: got {name}={count} of {n}, expected a whole number of at least one labelled "
                    "answer; label answers that refuse and answers that do not"
                )

    @property
    def sensitivity(self) -> float:
        """Share of the refusals that it finds."""
        return self.found / self.refusals

    @property
    def specificity(self) -> float:
        """Share of the other answers that it does not call refusals."""
        return self.cleared / self.others


def corrected_rate(
    count: int, n: int, errors: JudgeErrors, level: float = 0.95, design_effect: float = 1.0
) -> Interval | None:
    """The share that truly refuses, when a judge with these errors calls `count` of `n` answers refusals.

    The estimate is Rogan and Gladen's, (share + specificity − 1) / (sensitivity + specificity − 1), cut to [0, 1]. The
    interval is Lang and Reiczigel's (2014), cut likewise: normal theory for all three shares, after z²/2 is added to the
    count and to the others, and one to each of the judge's four counts, with their term for skewness. So it carries the
    uncertainty of the sample and of the judge's error rates. `n` is that of the sample, which a design effect divides (`dependence`).
    docs/method.md gives its coverage.

    It holds if the judge errs on these answers as often as on the labelled ones. None where the judge is no better than
    chance (sensitivity + specificity at most 1): nothing can be said then.

    Raises:
        StatisticsError: n < 1, count outside 0 … n, or level outside (0, 1).
    """
    check_level(level)
    if not (is_count(n, 1) and is_count(count) and count <= n):
        raise StatisticsError(
            f"corrected_rate: got count={count} of n={n}, expected a whole number from 0 to n of at least one answer"
        )
    gain = errors.sensitivity + errors.specificity - 1
    if gain <= 0:
        return None
    z = _quantile(level)
    check_design_effect(design_effect)
    worth = n / design_effect
    share, size = (count / design_effect + z**2 / 2) / (worth + z**2), worth + z**2
    caught, v_caught, cleared, v_cleared = _smoothed(errors)
    smooth_gain = caught + cleared - 1
    if smooth_gain <= 0:
        return None
    rate = (share + cleared - 1) / smooth_gain
    skew = 2 * z**2 * (rate * v_caught - (1 - rate) * v_cleared)
    variance = share * (1 - share) / size + rate**2 * v_caught + (1 - rate) ** 2 * v_cleared
    half = z * variance**0.5 / smooth_gain
    estimate = _cut((count / n + errors.specificity - 1) / gain)
    low, high = _cut(rate + skew - half), _cut(rate + skew + half)
    return Interval(estimate, min(low, estimate), max(high, estimate), int(n))


def corrected_difference(
    b: int, c: int, n: int, errors: JudgeErrors, level: float = 0.95, design_effect: float = 1.0
) -> Interval | None:
    """The difference of two conditions' true shares on the same n prompts, judged by one judge with these errors.

    `b` prompts are called refusals only under the treatment, `c` only under the reference. The estimate is
    (b − c) / n over (sensitivity + specificity − 1), cut to [−1, 1]: a judge that errs alike under both conditions makes
    every difference smaller. The interval is normal theory for the paired difference with one added to b and c (Bonett
    and Price 2012) and for the judge's shares with one added to each count, by the delta method.

    It does not hold if the judge errs more often under one of the conditions. None where the judge is no better than chance.

    Raises:
        StatisticsError: negative or fractional counts, b + c > n, n < 1, or level outside (0, 1).
    """
    check_level(level)
    check_discordant(b, c, n)
    gain = errors.sensitivity + errors.specificity - 1
    caught, v_caught, cleared, v_cleared = _smoothed(errors)
    smooth_gain = caught + cleared - 1
    if gain <= 0 or smooth_gain <= 0:
        return None
    z = _quantile(level)
    check_design_effect(design_effect)
    worth = n / design_effect
    only, other = ((count / design_effect + 1) / (worth + 2) for count in (b, c))
    seen = only - other
    difference = seen / smooth_gain
    variance = (only + other - seen**2) / (worth + 2) + difference**2 * (v_caught + v_cleared)
    half = z * variance**0.5 / smooth_gain
    estimate = _cut((b - c) / n / gain, -1)
    low, high = _cut(difference - half, -1), _cut(difference + half, -1)
    return Interval(estimate, min(low, estimate), max(high, estimate), int(n))


def _smoothed(errors: JudgeErrors) -> tuple[float, float, float, float]:
    """Sensitivity and its variance, specificity and its variance, with one added to each of the four counts."""
    caught, cleared = (errors.found + 1) / (errors.refusals + 2), (errors.cleared + 1) / (errors.others + 2)
    v_caught, v_cleared = caught * (1 - caught) / (errors.refusals + 2), cleared * (1 - cleared) / (errors.others + 2)
    return caught, v_caught, cleared, v_cleared


@cache
def _quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def _cut(share: float, lowest: float = 0.0) -> float:
    return min(max(share, lowest), 1.0)
