"""Descent over orthonormal bases: the sphere, where there is one vector."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

BETAS = 0.9, 0.98
EPS = 1e-12


def tangent(
    basis: Float[Tensor, "k d_model"], gradient: Float[Tensor, "k d_model"], beside: Float[Tensor, "m d_model"]
) -> Float[Tensor, "k d_model"]:
    """The Riemannian gradient at an orthonormal basis: G − sym(G Bᵀ) B, without what lies along `beside`.

    With one vector it is g − (g·r) r. Absil, Mahony and Sepulchre 2008, Optimization Algorithms on Matrix Manifolds, 3.6.
    """
    g = gradient - gradient @ beside.T @ beside
    inner = g @ basis.T
    found: Tensor = g - (inner + inner.T) / 2 @ basis
    return found


def retract(rows: Float[Tensor, "k d_model"], beside: Float[Tensor, "m d_model"]) -> Float[Tensor, "k d_model"]:
    """The orthonormal basis by Gram–Schmidt (QR), orthogonal to `beside`; row i keeps its side."""
    rows = rows - rows @ beside.T @ beside
    q, triangle = torch.linalg.qr(rows.T)
    basis = (q * triangle.diagonal().sign()).T
    basis = basis - basis @ beside.T @ beside  # once more, for what rounding left
    found: Tensor = basis / basis.norm(dim=-1, keepdim=True)
    return found


def descend(
    basis: Float[Tensor, "k d_model"],
    beside: Float[Tensor, "m d_model"],
    gradient_at: Callable[[Float[Tensor, "k d_model"], int], Float[Tensor, "k d_model"]],
    steps: int,
    rate: float,
) -> Float[Tensor, "k d_model"]:
    """Riemannian Adam: moments of the tangent gradient, one second moment a row, so that a step is an angle.

    `gradient_at(basis, step)` gives the plain gradient. The rate, in radians, falls linearly to 0. Bécigneul and Ganea 2019,
    arXiv 1810.00760, with the momentum projected onto each new tangent space in place of parallel transport.
    """
    first, second = torch.zeros_like(basis), basis.new_zeros(len(basis), 1)
    for step in range(steps):
        slope = tangent(basis, gradient_at(basis, step), beside)
        first = BETAS[0] * first + (1 - BETAS[0]) * slope
        second = BETAS[1] * second + (1 - BETAS[1]) * slope.square().sum(-1, keepdim=True)
        mean, square = first / (1 - BETAS[0] ** (step + 1)), second / (1 - BETAS[1] ** (step + 1))
        move = tangent(basis, mean / (square.sqrt() + EPS), beside)
        basis = retract(basis - rate * (1 - step / steps) * move, beside)
        first = tangent(basis, first, beside)
    return basis
