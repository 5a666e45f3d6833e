"""Means of both sides at every layer and template position: the candidates are their differences."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Means:
    """Mean resid_pre of each side at every layer and template position, float64 [layer, position, d_model].

    positions runs −k … −1; halves holds the difference of means of two halves of the training prompts.
    """

    positions: tuple[int, ...]
    harmful: Float[Tensor, "layer position d_model"]
    harmless: Float[Tensor, "layer position d_model"]
    halves: tuple[Float[Tensor, "layer position d_model"], Float[Tensor, "layer position d_model"]]

    @property
    def difference(self) -> Float[Tensor, "layer position d_model"]:
        """The candidates: harmful minus harmless, not normalised."""
        return self.harmful - self.harmless
