"""Score statistic: how far a supposed paired difference is from the one observed (Tango 1998)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def score_statistic(b: ArrayLike, c: ArrayLike, n: ArrayLike, delta: ArrayLike) -> NDArray[np.float64]:
    """Tango's T(Δ) = (b − c − nΔ) / √(n (2q + Δ(1 − Δ))), about standard normal if Δ is the true difference.

    q is the probability of a pair where only the reference is true, by maximum likelihood under Δ: the larger
    root of 2n q² + (−b − c + (2n − b + c)Δ) q − cΔ(1 − Δ) = 0. b and c count the pairs where only the
    treatment and only the reference are true, among n. T falls as Δ grows; at Δ = 0 it is McNemar's (b − c) /
    √(b + c). Broadcasts. Where the variance is 0 it is 0 for an exact match and ±inf otherwise.
    """
    b, c, n, delta = (np.asarray(value, dtype=np.float64) for value in (b, c, n, delta))
    square = 2 * n
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    root = np.sqrt(np.maximum(linear**2 - 4 * square * constant, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Each form of the larger root cancels where the other does not.
        q = np.where(linear > 0, -2 * constant / (linear + root), (root - linear) / (2 * square))
        gap = b - c - n * delta
        deviation = np.sqrt(np.maximum(n * (2 * q + delta * (1 - delta)), 0.0))
        return np.where(gap == 0, 0.0, gap / deviation)
