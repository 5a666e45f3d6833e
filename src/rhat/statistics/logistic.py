"""Logistic regression with an L2 penalty, solved exactly: few rows, many features."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ridge_logistic(x: ArrayLike, y: ArrayLike, penalty: float = 1.0) -> tuple[NDArray[np.float64], float]:
    """Weights and intercept that minimise the sum of log-losses + penalty/2 · |w|²; the intercept is free.

    `x` is [n, d], `y` true or false. Newton's method in the span of the rows, which holds the solution, so its cost goes with the number of
    rows; each step is halved until the loss falls. The model is scikit-learn's LogisticRegression with C = 1/penalty.
    """
    rows, truth = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    u, s, v = np.linalg.svd(rows, full_matrices=False)
    z = np.column_stack([u * s, np.ones(len(u))])
    ridge = np.full(z.shape[1], float(penalty))
    ridge[-1] = 1e-9
    w = np.zeros(z.shape[1])

    def loss(at: NDArray[np.float64]) -> float:
        logits = z @ at
        return float((np.logaddexp(0, logits) - truth * logits).sum() + (ridge * at**2).sum() / 2)

    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(z @ w, -500, 500)))
        slope = z.T @ (p - truth) + ridge * w
        if np.linalg.norm(slope) < 1e-9:
            break
        step = np.linalg.solve((z.T * (p * (1 - p))) @ z + np.diag(ridge), slope)
        length, before = 1.0, loss(w)
        while length > 1e-6 and loss(w - length * step) > before:
            length /= 2
        w = w - length * step
    return v.T @ w[:-1], float(w[-1])
