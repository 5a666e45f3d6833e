"""Multiplicity: p values of one question, adjusted together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.statistics.samples import number_sample


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm-adjusted p values, in the order given.

    Sorted upwards, the i-th of m (i from 0) becomes the running maximum of min(1, (m − i) p); rejecting those
    below α keeps the chance of any false rejection at α whatever the dependence between them. Holm 1979.

    Raises:
        StatisticsError: no p values, a NaN, or one outside [0, 1].
    """
    raw = _p_values(p_values, "holm")
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    # statsmodels' multipletests says the same, and collects garbage each time: half a second in a process with a model.
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)))
    return adjusted


def holm_exclusive(p_values: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """Holm-adjusted p values of rows of hypotheses, where at most one hypothesis of each row can be true.

    A difference cannot be at once 0, at or below −margin, and at or above the margin: of these three nulls at most one holds. So
    among m rows at most m nulls are true, and the smallest p of all is multiplied by m and not by 3 m; the factor falls by one each
    time a row's last null is rejected (Shaffer 1986). Rejecting what is below α keeps the chance of any false rejection, of a
    difference, an equivalence or a non-inferiority, at α whatever the dependence. Rows of one hypothesis give Holm's method.

    Raises:
        StatisticsError: no rows, an empty row, a NaN, or a p value outside [0, 1].
    """
    rows = [_p_values(np.atleast_1d(np.asarray(row)), "holm_exclusive") for row in p_values]
    if not rows:
        raise StatisticsError("holm_exclusive: got no rows, expected at least one; check the filter that made them")
    adjusted = [np.empty(len(row)) for row in rows]
    left = [len(row) for row in rows]
    order = sorted((p, i, j) for i, row in enumerate(rows) for j, p in enumerate(row))
    highest = 0.0
    for p, i, j in order:
        highest = max(highest, min(1.0, p * sum(count > 0 for count in left)))
        adjusted[i][j] = highest
        left[i] -= 1
    return adjusted


def fixed_sequence(p_values: ArrayLike) -> NDArray[np.float64]:
    """p values adjusted for tests made in an order fixed beforehand, each only if all before it rejected: the running maximum.

    Rejecting those below α keeps the chance of any false rejection at α, and costs the first test nothing (Maurer, Hothorn and
    Lehmacher 1995). The order must not come from the data that are tested.

    Raises:
        StatisticsError: no p values, a NaN, or one outside [0, 1].
    """
    return np.maximum.accumulate(_p_values(p_values, "fixed_sequence"))


def _p_values(values: ArrayLike, name: str) -> NDArray[np.float64]:
    raw = number_sample(values, "p_values")
    if raw.min() < 0 or raw.max() > 1:
        raise StatisticsError(
            f"{name}: got p values from {raw.min():g} to {raw.max():g}, expected 0 to 1; pass p values, not statistics"
        )
    return raw
