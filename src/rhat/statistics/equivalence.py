"""Equivalence: how many prompts it takes to show that a difference is small."""

from functools import lru_cache
from typing import Literal

import numpy as np

from rhat.errors import StatisticsError
from rhat.statistics.samples import LARGEST_COUNT, is_count
from rhat.statistics.score import score_statistic

# Above this many prompts the normal approximation stands as it is: the two have met by then (3806 against
# 3807 prompts at a share of 0.4 and a margin of 0.03), and the exact sum grows with n.
_EXACT_UP_TO = 5000


def equivalence_power(
    n: int, discordant_share: float, margin: float, *, method: Literal["normal", "exact"] = "normal"
) -> float:
    """Chance that `paired_comparison` finds equivalence (5 %) if the true difference is 0.

    "normal": 2 Φ(margin / √(share / n) − z₀.₉₅) − 1, not below 0, the variance of a difference of paired
    rates being share / n where it is 0. This is the usual planning formula; it is optimistic by a few points,
    and by much where few discordant pairs are expected (n · share under about 10).
    "exact": the trinomial probability, with half the share each way, of all outcomes whose 90 % Tango
    interval lies inside ±margin; outcomes beyond about 9 standard deviations are left out.
    At 20 % discordant pairs and a margin of 0.1: 11 % at 64 prompts and 87 % at 200 by "normal", 8 % and 85 %
    by "exact".

    Raises:
        StatisticsError: n < 1, share outside [0, 1], margin outside (0, 1), or an unknown method.
    """
    if not is_count(n, 1):
        raise StatisticsError(f"equivalence_power: got n={n}, expected at least one prompt; pass a count")
    _check_share(discordant_share)
    if not 0.0 < margin < 1.0:
        raise StatisticsError(
            f"margin: got {margin}, expected a share above 0 and below 1; 10 percentage points is margin=0.10"
        )
    if method == "exact":
        return _exact_power(int(n), discordant_share, margin)
    if method != "normal":
        raise StatisticsError(f"method: got {method!r}, expected one of normal, exact; choose one of them")
    from scipy.special import ndtr, ndtri

    if discordant_share / n == 0:  # none, or so small that dividing it leaves nothing
        return 1.0
    deviation = (discordant_share / n) ** 0.5
    return max(0.0, float(2 * ndtr(margin / deviation - ndtri(0.95)) - 1))


@lru_cache(maxsize=4096)
def prompts_needed(discordant_share: float, margin: float, power: float = 0.80) -> int | None:
    """Number of prompts for this power to show equivalence if the true difference is 0; None if margin ≤ 0.

    Starts at the normal approximation, share · ((z₀.₉₅ + z_{(1 + power) / 2}) / margin)², or where even a
    sample without discordant pairs would first do, z² (1 − margin) / margin, and counts up until the exact
    power reaches `power`. Above 5000 prompts the approximation stands. It takes the share as known: one
    estimated from few prompts gives a rough number.

    Raises:
        StatisticsError: share outside [0, 1], power outside (0, 1), or margin 1 or more.
    """
    _check_share(discordant_share)
    if not 0.0 < power < 1.0:
        raise StatisticsError(f"power: got {power}, expected between 0 and 1; 80 % is power=0.80")
    if margin <= 0:
        return None
    if not margin < 1.0:
        raise StatisticsError(f"margin: got {margin}, expected a share below 1; 10 points is margin=0.10")
    from scipy.special import ndtri

    z = float(ndtri(0.95))
    normal = discordant_share * float(np.square((z + ndtri((1 + power) / 2)) / np.float64(margin)))
    if not max(normal, z**2 / margin) < LARGEST_COUNT:
        raise StatisticsError(
            f"margin: got {margin} at a power of {power}, expected a share that some number of prompts can show; 0.10 is usual"
        )
    n = max(int(np.ceil(normal)), int(np.floor(z**2 * (1 - margin) / margin)) + 1)
    while n <= _EXACT_UP_TO and _exact_power(n, discordant_share, margin) < power:
        n += 1
    return n


def _exact_power(n: int, share: float, margin: float) -> float:
    """Chance of the outcomes (b, c) that show equivalence: a trinomial of share/2, share/2, the rest."""
    from scipy.special import ndtri
    from scipy.stats import binom

    spread = 9 * (n * share * (1 - share)) ** 0.5 + 9
    totals = np.arange(max(0, int(n * share - spread)), min(n, int(n * share + spread)) + 1)
    reach = 9 * float(totals[-1]) ** 0.5 / 2 + 9
    b = np.arange(max(0, int(totals[0] / 2 - reach)), int(totals[-1] / 2 + reach) + 1)[:, None]
    c = totals - b
    z = float(ndtri(0.95))
    inside = (score_statistic(b, c, n, -margin) > z) & (score_statistic(b, c, n, margin) < -z)
    # binom.pmf is 0 where b > total, that is c < 0, whatever the statistic makes of such a table.
    chance = binom.pmf(totals, n, share) * binom.pmf(b, totals, 0.5)
    return float(np.sum(chance[inside]))


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise StatisticsError(
            f"discordant share: got {share}, expected 0 to 1; divide the discordant pairs by all pairs"
        )
