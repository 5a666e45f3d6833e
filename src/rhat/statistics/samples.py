"""Samples: what every statistic asks of the numbers it is given."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError


def number_sample(values: ArrayLike, name: str, at_least: int = 1) -> NDArray[np.float64]:
    """`values` as a float64 vector.

    Raises:
        StatisticsError: not one-dimensional, fewer than `at_least` values, or a NaN or an infinity among
            them.
    """
    try:
        sample = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise StatisticsError(f"{name}: got {values!r:.80}, expected numbers; pass a list of numbers") from error
    if sample.ndim != 1:
        raise StatisticsError(
            f"{name}: got an array of shape {sample.shape}, expected one value per prompt; flatten it first"
        )
    if len(sample) < at_least:
        raise StatisticsError(
            f"{name}: got {len(sample)} values, expected at least {at_least}; check the filter that made it"
        )
    bad = int(np.count_nonzero(~np.isfinite(sample)))
    if bad:
        raise StatisticsError(
            f"{name}: got {bad} NaN or infinite values out of {len(sample)}, expected finite ones; "
            f"drop those prompts from every condition or mend their scores"
        )
    return sample


def boolean_sample(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """`values` as a boolean vector; zeros and ones are taken as False and True.

    Raises:
        StatisticsError: not one-dimensional, empty, or anything but True, False, 0 and 1 among them.
    """
    sample = number_sample(values, name)
    if not np.isin(sample, (0.0, 1.0)).all():
        strange = sample[~np.isin(sample, (0.0, 1.0))][0]
        raise StatisticsError(
            f"{name}: got the value {strange:g}, expected True or False; pass verdicts, not scores or rates"
        )
    return sample.astype(bool)


def check_same_length(first: NDArray[Any], second: NDArray[Any], first_name: str, second_name: str) -> None:
    """Raise StatisticsError unless both hold one value for each of the same prompts."""
    if len(first) != len(second):
        raise StatisticsError(
            f"{first_name} and {second_name}: got {len(first)} and {len(second)} values, expected the same "
            f"prompts in the same order; align them by prompt id"
        )


def is_between(value: float, low: float, high: float) -> bool:
    """Whether `value` is a number strictly between two others."""
    try:
        return bool(low < value < high)
    except (TypeError, ValueError):
        return False


def check_level(level: float) -> None:
    """Raise StatisticsError unless `level` is a confidence level, strictly between 0 and 1."""
    if not is_between(level, 0.0, 1.0):
        raise StatisticsError(f"level: got {level}, expected between 0 and 1; 95 % is level=0.95")


LARGEST_COUNT = 2**53  # beyond it floats skip whole numbers, and sums of them are none


def is_count(value: float, at_least: int = 0) -> bool:
    """Whether `value` is a whole number of at least `at_least`, and no NaN, infinity or text."""
    try:
        return at_least <= value <= LARGEST_COUNT and value == int(value)
    except (TypeError, ValueError):
        return False


def check_finite(what: str, *values: float) -> None:
    """Raise StatisticsError if a result is not finite: finite numbers whose squares or sums are not."""
    if not np.isfinite(values).all():
        raise StatisticsError(
            f"{what}: got numbers too large to reckon with, expected results that are finite; divide them by their size first"
        )


def check_discordant(b: int, c: int, n: int | None) -> None:
    """Raise StatisticsError unless b and c are counts of different pairs among n ≥ 1 pairs; n None: whatever their number."""
    n = b + c + 1 if n is None and is_count(b) and is_count(c) else n
    if not (is_count(b) and is_count(c) and is_count(n, 1)) or b + c > n:  # type: ignore[arg-type,operator]
        raise StatisticsError(
            f"discordant counts: got b={b}, c={c} of n={n} pairs, expected whole numbers with b + c ≤ n and "
            f"n ≥ 1; count the pairs where just one condition is true"
        )
