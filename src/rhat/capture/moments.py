"""Streaming float64 moments: mean and variance of activations without keeping the activations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import ContrastError
from rhat.model.precision import wide
from rhat.reprs import one_line


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, sum and sum of squares of vectors, per group; merging is exact addition.

    `total` and `squares` are float64 of shape [..., d]: one set of moments for each leading index.
    """

    count: int
    total: Float[Tensor, "*group d"]
    squares: Float[Tensor, "*group d"]

    __repr__ = one_line

    @classmethod
    def of(cls, values: Float[Tensor, "n *group d"]) -> Moments:
        """Moments of n observations."""
        values = wide(values)
        return cls(len(values), values.sum(0), values.square().sum(0))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> Float[Tensor, "*group d"]:
        """Mean, float64.

        Raises:
            ContrastError: if nothing was observed, or something that is not finite.
        """
        if self.count == 0:
            raise ContrastError(
                "moments: got 0 observations, expected at least 1; check the filter of the contrast set"
            )
        if not bool((self.total.isfinite() & self.squares.isfinite()).all()):
            raise ContrastError(
                "moments: got observations that are not finite, expected numbers; load the model with a wider dtype"
            )
        return self.total / self.count

    @property
    def variance(self) -> Float[Tensor, "*group d"]:
        """Population variance of each component, float64."""
        return (self.squares / self.count - self.mean.square()).clamp_min(0)


def gather_positions(activation: Float[Tensor, "rows seq d"], index: Tensor) -> Float[Tensor, "rows k d"]:
    """Rows' activations at the given columns, [rows, k]."""
    return torch.gather(activation, 1, index[..., None].expand(-1, -1, activation.shape[-1]))
