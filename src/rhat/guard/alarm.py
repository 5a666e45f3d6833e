"""An alarm when traffic no longer looks like the harmless calibration prompts: a sequential test with a stated false-alarm rate."""

from __future__ import annotations

import bisect
import math
import random

from rhat.errors import StatisticsError
from rhat.guard.calibration import Calibration
from rhat.reprs import one_line

BETS = (-1.0, 0.0, 1.0)
JUMP = 0.01  # share of the capital that changes its bet at each prompt
MOST = 100_000  # projections that are held; what comes later is not tested


class Alarm:
    """A conformal test martingale over projections, in the order in which prompts come.

    Each projection gets a conformal p value among the calibration's harmless ones and those that came before, ties broken at
    random. If all are exchangeable these p values are independent and uniform, and the capital of a player who bets against that
    (the Simple Jumper of Vovk et al. 2021, Retrain or not retrain) is a martingale that begins at 1. By Ville's inequality the
    chance that it ever reaches 1 / `false_alarm` is at most `false_alarm`, however long the traffic. Projections that come to
    lie higher, or lower, let it grow.
    """

    __repr__ = one_line

    def __init__(self, calibration: Calibration, false_alarm: float = 0.01, seed: int = 0) -> None:
        if not 0 < false_alarm < 1:
            raise StatisticsError(f"false_alarm: got {false_alarm}, expected a probability between 0 and 1")
        self.false_alarm = false_alarm
        self.raised = False
        self._seen = harmless_projections(calibration)
        self._log_capitals = [math.log(1 / len(BETS))] * len(BETS)
        self._random = random.Random(seed)

    @property
    def evidence(self) -> float:
        """The decimal logarithm of the capital: 0 at the beginning, 2 where the odds against the calibration's traffic are 100 to 1."""
        return _log_sum(self._log_capitals) / math.log(10)

    def see(self, projection: float) -> bool:
        """Take the next prompt's projection into account. Returns whether the alarm has ever been raised."""
        if len(self._seen) >= MOST or not math.isfinite(projection):
            return self.raised
        low, high = bisect.bisect_left(self._seen, projection), bisect.bisect_right(self._seen, projection)
        above = len(self._seen) - high
        p = (above + self._random.random() * (high - low + 1)) / (len(self._seen) + 1)
        self._seen.insert(high, projection)
        together = _log_sum(self._log_capitals) + math.log(JUMP / len(BETS))
        self._log_capitals = [
            _log_sum([capital + math.log1p(-JUMP), together]) + math.log(max(1 + bet * (p - 0.5), 1e-300))
            for capital, bet in zip(self._log_capitals, BETS, strict=True)
        ]
        self.raised = self.raised or self.evidence >= -math.log10(self.false_alarm)
        return self.raised


def harmless_projections(calibration: Calibration) -> list[float]:
    """The projections of the harmless calibration prompts in rising order, as the calibration's ROC curve holds them."""
    n = calibration.false_positive_rate.n
    above = [round(n * point["false_positive_rate"]) for point in calibration.roc]  # thresholds fall, so these rise
    counts = [after - before for before, after in zip(above, [*above[1:], n], strict=True)]
    values = [
        value for point, count in zip(calibration.roc, counts, strict=True) for value in [point["threshold"]] * count
    ]
    return values[::-1]


def _log_sum(logs: list[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs))
