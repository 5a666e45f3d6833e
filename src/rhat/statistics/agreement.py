"""Agreement: do two judges give the same verdicts?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rhat.reprs import one_line
from rhat.statistics.intervals import Interval
from rhat.statistics.rates import wilson
from rhat.statistics.samples import boolean_sample, check_level, check_same_length


@dataclass(frozen=True)
class Agreement:
    """How often two judges agree, and how far that exceeds chance.

    `share` is the share of the `n` prompts with equal verdicts (Wilson interval). `kappa` is Cohen's, −1 to 1
    with 0 at chance, with its large-sample interval; None where it is undefined (each judge gave one and the
    same verdict throughout). At perfect agreement the interval of kappa has no width: read that of `share`.
    """

    share: Interval
    kappa: Interval | None
    n: int

    __repr__ = one_line


def agreement(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Agreement:
    """Share of equal verdicts and Cohen's kappa of two boolean arrays over the same prompts.

    kappa = (p_o − p_e) / (1 − p_e), with p_o the share equal and p_e what the two base rates give by chance;
    its large-sample variance is statsmodels' (`cohens_kappa`: Fleiss, Cohen and Everitt 1969), and its
    interval is clipped to −1 … 1.

    Raises:
        StatisticsError: lengths differ, no prompts, a NaN, or values other than True and False.
    """
    check_level(level)
    first, second = boolean_sample(a, "a"), boolean_sample(b, "b")
    check_same_length(first, second, "a", "b")
    n = len(first)
    share = wilson(int(np.sum(first == second)), n, level)
    if first.all() == first.any() and second.all() == second.any() and first[0] == second[0]:
        return Agreement(share=share, kappa=None, n=n)
    from scipy.special import ndtri
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.histogram2d(first.astype(int), second.astype(int), bins=2, range=[[0, 1], [0, 1]])[0]
    # At perfect agreement the variance is 0, and rounding may leave it just below.
    with np.errstate(invalid="ignore", divide="ignore"):
        result = cohens_kappa(table)
    half = float(ndtri(0.5 + level / 2)) * max(0.0, float(result.var_kappa)) ** 0.5
    kappa = Interval(
        estimate=float(result.kappa),
        low=max(-1.0, float(result.kappa) - half),
        high=min(1.0, float(result.kappa) + half),
        n=n,
    )
    return Agreement(share=share, kappa=kappa, n=n)
