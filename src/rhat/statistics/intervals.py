"""Interval: an estimate with the two ends that go with it."""

from dataclasses import dataclass

from rhat.statistics.samples import check_finite


@dataclass(frozen=True)
class Interval:
    """An estimate, its confidence limits, and the number of observations behind it.

    `estimate`, `low` and `high` are in the unit of whatever was estimated; low ≤ estimate ≤ high.
    The level (95 % unless the call said otherwise) is an argument of the function that made the interval.
    """

    estimate: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        check_finite("interval", self.estimate, self.low, self.high)
