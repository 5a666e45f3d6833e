"""Multiplicity: p values of one question, adjusted together."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.statistics.samples import number_sample


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm-adjusted p values, in the order given (statsmodels `multipletests`).

    Sorted upwards, the i-th of m (i from 0) becomes the running maximum of min(1, (m − i) p); rejecting those
    below α keeps the chance of any false rejection at α whatever the dependence between them. Holm 1979.

    Raises:
        StatisticsError: no p values, a NaN, or one outside [0, 1].
    """
    raw = number_sample(p_values, "p_values")
    if raw.min() < 0 or raw.max() > 1:
        raise StatisticsError(
            f"holm: got p values from {raw.min():g} to {raw.max():g}, expected 0 to 1; pass p values, not statistics"
        )
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(raw, method="holm")[1], dtype=np.float64)
