"""Means of both sides at every layer and template position, and the candidate vectors there."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rhat.errors import ContrastError
from rhat.reprs import one_line


@dataclass(frozen=True, eq=False)
class Means:
    """Mean resid_pre of each side at every layer and template position, float64 [layer, position, d_model].

    positions  −k … −1
    threshold  the refusal score (nats) above which prompts counted as refused, and below which as not
    halves     the candidate vectors of two halves of the training prompts; zero where a half holds none of a side
    found      the candidate vectors of another finder than the difference of means, each as long as the distance of the two
               means along it; None: the differences of means are the candidates
    """

    positions: tuple[int, ...]
    harmful: Float[Tensor, "layer position d_model"]
    harmless: Float[Tensor, "layer position d_model"]
    halves: tuple[Float[Tensor, "layer position d_model"], Float[Tensor, "layer position d_model"]]
    found: Float[Tensor, "layer position d_model"] | None = None
    threshold: float = 0.0

    __repr__ = one_line

    def __post_init__(self) -> None:
        for name, mean in (("harmful", self.harmful), ("harmless", self.harmless), ("found", self.found)):
            if mean is not None and not bool(mean.isfinite().all()):
                raise ContrastError(
                    f"means, {name}: got values that are not finite, expected numbers; load the model with a wider dtype"
                )

    @property
    def candidates(self) -> Float[Tensor, "layer position d_model"]:
        """The candidate vectors, not normalised: harmful minus harmless, unless another finder was used."""
        return self.harmful - self.harmless if self.found is None else self.found
