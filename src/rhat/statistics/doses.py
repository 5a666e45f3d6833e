"""Doses: how much of an intervention has half its effect."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.reprs import one_line
from rhat.statistics.samples import check_finite, check_level, is_count, number_sample


@dataclass(frozen=True)
class HalfEffectDose:
    """The dose at which a rate is half way between its lowest and its highest plateau.

    `estimate`, `low`, `high`, `below` and `above` are in the unit of the doses. `low` and `high` are
    percentiles of a parametric bootstrap over the prompts; they do not cover the guess that the curve is
    straight between two tested doses, so a steep step gives a narrow interval and the honest statement is
    that the dose lies between `below` and `above`, the tested doses on either side of it. `half_rate` is the
    rate there, `low_plateau` and `high_plateau` the ends of the fitted curve. `crossing_share` is the share
    of bootstrap curves that had an effect at all; where it is under about 0.95 the interval speaks only for
    those. `n` is the number of prompts of the smallest dose group.
    """

    estimate: float
    low: float
    high: float
    below: float
    above: float
    half_rate: float
    low_plateau: float
    high_plateau: float
    crossing_share: float
    n: int

    __repr__ = one_line

    def __post_init__(self) -> None:
        check_finite("half-effect dose", self.estimate, self.low, self.high)


def half_effect_dose(
    doses: ArrayLike,
    rates: ArrayLike,
    n: int | Sequence[int] | NDArray[np.integer],
    *,
    increasing: bool = True,
    min_effect: float = 0.10,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> HalfEffectDose | None:
    """Dose of half effect by isotonic regression and linear interpolation; None if there is hardly an effect.

    The rates, weighted by their number of prompts, are made monotone by pooling adjacent violators (scipy
    `isotonic_regression`): rising with the dose if `increasing`, else falling. Half way is the mean of the
    first and last fitted rate; where the curve is flat just there, the middle of the flat part. If the fitted
    rates differ by less than `min_effect` (a share), the curve does not cross and None comes back. The
    bootstrap draws binomial counts at the fitted rates and repeats all this, as if every dose had prompts of its own;
    where all were tried on the same prompts, see `half_effect_of_prompts`.

    Args:
        doses: in any order, all different.
        rates: the share at each dose, 0 to 1.
        n: prompts per dose, one number or one per dose.
        increasing: whether the effect is a rate that rises with the dose.
        min_effect: the least difference between the plateaus, as a share, that counts as an effect.
        level: of the interval.
        draws: bootstrap curves.
        seed: of the bootstrap.

    Raises:
        StatisticsError: lengths differ, fewer than 2 doses, two equal doses, a NaN, a rate outside [0, 1], n
            < 1, min_effect outside (0, 1], draws < 1, or no bootstrap curve with an effect.
    """
    check_level(level)
    dose = number_sample(doses, "doses", at_least=2)
    rate = number_sample(rates, "rates", at_least=2)
    counts = number_sample(np.full(len(dose), n) if np.ndim(n) == 0 else n, "n")
    if not len(dose) == len(rate) == len(counts):
        raise StatisticsError(
            f"half_effect_dose: got {len(dose)} doses, {len(rate)} rates and {len(counts)} counts, "
            f"expected one of each per dose; pass one number as n if all doses share it"
        )
    if len(np.unique(dose)) < len(dose):
        raise StatisticsError("half_effect_dose: got a dose twice, expected different doses; pool their prompts")
    if rate.min() < 0 or rate.max() > 1:
        raise StatisticsError(
            f"half_effect_dose: got rates from {rate.min():g} to {rate.max():g}, expected shares, 0 to 1; "
            f"divide counts or percentages first"
        )
    if not all(is_count(count, 1) for count in counts):
        raise StatisticsError(
            f"half_effect_dose: got n={n!r}, expected a whole number of prompts, at least 1, for every dose; "
            f"drop doses without prompts"
        )
    if not 0.0 < min_effect <= 1.0:
        raise StatisticsError(f"min_effect: got {min_effect}, expected a share above 0; 10 points is 0.10")
    if not is_count(draws, 1):
        raise StatisticsError(f"draws: got {draws}, expected at least 1; 1000 is usual")
    if not is_count(seed):
        raise StatisticsError(f"seed: got {seed!r}, expected a whole number of 0 or more")

    order = np.argsort(dose)
    dose, rate, counts = dose[order], rate[order], counts[order]
    fitted = monotone(rate, counts, increasing)
    crossing = half_way(dose, fitted, min_effect)
    if crossing is None:
        return None
    estimate, below, above = crossing

    generator = np.random.default_rng(seed)
    samples = generator.binomial(counts.astype(int), fitted, size=(draws, len(dose))) / counts
    repeats = [half_way(dose, monotone(sample, counts, increasing), min_effect) for sample in samples]
    found = np.array([repeat[0] for repeat in repeats if repeat is not None])
    if not len(found):
        raise StatisticsError(
            f"half_effect_dose: got no bootstrap curve of {draws} with an effect of {min_effect}, "
            f"expected some; test more prompts per dose or more draws"
        )
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return HalfEffectDose(
        estimate=estimate,
        # A skewed bootstrap may leave the estimate outside its own percentiles.
        low=min(float(low), estimate),
        high=max(float(high), estimate),
        below=below,
        above=above,
        half_rate=float(fitted[0] + fitted[-1]) / 2,
        low_plateau=float(fitted.min()),
        high_plateau=float(fitted.max()),
        crossing_share=len(found) / draws,
        n=int(counts.min()),
    )


def monotone(rate: NDArray[np.float64], counts: NDArray[np.float64], increasing: bool) -> NDArray[np.float64]:
    """The rates, weighted by their counts, made monotone by pooling adjacent violators."""
    from scipy.optimize import isotonic_regression

    # Weighted means of 0s or 1s can miss 0 or 1 by rounding, and the bootstrap needs probabilities.
    fit = isotonic_regression(rate, weights=counts, increasing=increasing).x
    return np.clip(np.asarray(fit, dtype=np.float64), 0.0, 1.0)


def half_way(
    dose: NDArray[np.float64], fitted: NDArray[np.float64], min_effect: float
) -> tuple[float, float, float] | None:
    """(dose half way, tested dose below, tested dose above) of a monotone curve, or None where it is flat."""
    effect = fitted[-1] - fitted[0]
    # 0.6 − 0.5 is 0.09999…98 in floating point, and 10 points is meant.
    if abs(effect) < min_effect - 1e-9:
        return None
    progress = (fitted - fitted[0]) / effect
    before = int(np.flatnonzero(progress < 0.5 - 1e-9)[-1])
    after = int(np.flatnonzero(progress > 0.5 + 1e-9)[0])
    if after == before + 1:
        part = (0.5 - progress[before]) / (progress[after] - progress[before])
        middle = dose[before] + part * (dose[after] - dose[before])
    else:
        middle = (dose[before + 1] + dose[after - 1]) / 2
    return float(middle), float(dose[before]), float(dose[after])
