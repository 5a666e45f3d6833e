"""Means of both sides at every layer and template position, and the candidate vectors there."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Means:
    """Mean resid_pre of each side at every layer and template position, float64 [layer, position, d_model].

    positions  −k … −1
    halves     the candidate vectors of two halves of the training prompts
    found      the candidate vectors of another finder than the difference of means, each as long as the distance of the two
               means along it; None: the differences of means are the candidates
    """

    positions: tuple[int, ...]
    harmful: Float[Tensor, "layer position d_model"]
    harmless: Float[Tensor, "layer position d_model"]
    halves: tuple[Float[Tensor, "layer position d_model"], Float[Tensor, "layer position d_model"]]

    found: Float[Tensor, "layer position d_model"] | None = None

    @property
    def candidates(self) -> Float[Tensor, "layer position d_model"]:
        """The candidate vectors, not normalised: harmful minus harmless, unless another finder was used."""
        return self.harmful - self.harmless if self.found is None else self.found
