"""Principal components, exact."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def principal_components(
    activations: Float[Tensor, "n d_model"], k: int = 2
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "k d_model"], Float[Tensor, " k"]]:
    """Scores, unit components and explained shares of variance of the first k principal components, float64, exact SVD."""
    centred = activations.double() - activations.double().mean(0)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    return u[:, :k] * s[:k], v[:k], s[:k].square() / s.square().sum()
