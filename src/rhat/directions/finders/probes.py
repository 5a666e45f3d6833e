"""Finders that tell the two groups apart: a logistic probe, and Fisher's discriminant."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions.finders.checks import finite_vector, gap, need_rows


def logistic(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], *, penalty: float = 1.0
) -> Float[Tensor, " d_model"]:
    """Weights of a logistic probe with an L2 penalty, in the units of the activations; unit length.

    Features are standardised with training statistics and the scaling is undone. Fitted with L-BFGS in float64, sum of
    log-losses + penalty/2 · |w|².

    Raises:
        ContrastError: if either side has fewer than two rows, or a value is not finite.
    """
    need_rows("logistic", positive, negative, 2)
    x = torch.cat([positive, negative]).double()
    y = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).to(x)
    mean, sd = x.mean(0), x.std(0).clamp_min(1e-8)
    z = (x - mean) / sd
    weights = torch.zeros(z.shape[1] + 1, dtype=torch.float64, device=z.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = z @ weights[:-1] + weights[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        loss = loss + penalty / 2 * weights[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    vector = weights.detach()[:-1] / sd
    return finite_vector("logistic", vector / vector.norm(), positive.dtype)


def whitened(positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]) -> Float[Tensor, " d_model"]:
    """Fisher's linear discriminant Σ⁻¹ (μ⁺ − μ⁻), with the covariance within the groups shrunk by Ledoit–Wolf. Not normalised.

    Σ = (1 − s) S + s (tr S / d_model) I, where S is the covariance of all rows about their own group's mean (sum of squares
    over the number of rows) and s is the estimate of Ledoit and Wolf 2004 (Journal of Multivariate Analysis 88:365). With fewer rows than dimensions only a matrix of rows
    is inverted (Woodbury). Where all rows of a group are equal it is the difference of means. Float64; per residual-stream unit.

    Raises:
        ContrastError: if either side has fewer than two rows, or a value is not finite.
    """
    need_rows("whitened", positive, negative, 2)
    rows, difference = _residuals(positive, negative), gap(positive, negative)
    s, scale = _ledoit_wolf(rows)
    ridge, weight = s * scale, (1 - s) / len(rows)  # Σ = ridge I + weight RᵀR
    if scale == 0:
        return finite_vector("whitened", difference, positive.dtype)
    if len(rows) < rows.shape[1]:
        inner = (
            rows @ rows.T + ridge / weight * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
            if s < 1
            else None
        )
        found = difference if inner is None else difference - rows.T @ torch.linalg.solve(inner, rows @ difference)
        return finite_vector("whitened", found / ridge, positive.dtype)
    covariance = weight * rows.T @ rows + ridge * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return finite_vector("whitened", torch.linalg.solve(covariance, difference), positive.dtype)


def shrinkage(positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], **_more: Any) -> float:
    """The shrinkage s that `whitened` takes, 0 to 1: at 1 it is the difference of means.

    Raises:
        ContrastError: as `whitened`.
    """
    need_rows("whitened", positive, negative, 2)
    return _ledoit_wolf(_residuals(positive, negative))[0]


def _residuals(positive: Tensor, negative: Tensor) -> Float[Tensor, "rows d_model"]:
    """Rows about their own group's mean, float64."""
    return torch.cat([side.double() - side.double().mean(0) for side in (positive, negative)])


def _ledoit_wolf(rows: Float[Tensor, "n d"]) -> tuple[float, float]:
    """(s, tr S / d) of centred rows, with S = RᵀR / n.

    s = min(b², a²) / a² with a² = |S − m I|² / d and b² = (Σ |xᵢ|⁴ / n − |S|²) / (n d), norms being Frobenius's.
    """
    n, d = rows.shape
    small = rows @ rows.T if n < d else rows.T @ rows  # of the same Frobenius norm
    squares = rows.square().sum(1)
    m = float(squares.sum()) / (n * d)
    whole = float(small.square().sum()) / n**2
    a = whole / d - m**2
    b = (float(squares.square().sum()) / n - whole) / (n * d)
    return (min(max(b, 0.0), a) / a if a > 1e-300 else 1.0), m
