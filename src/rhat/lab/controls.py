"""Controls: random and permuted directions, and the shift that each is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction, random_direction
from rhat.selection.finding import direction_at

if TYPE_CHECKING:
    from rhat.model.chat import ChatModel
    from rhat.selection.means import Means
    from rhat.vocabulary import Preset


class Controls:
    """The part of a lab that makes control directions; the lab has r̂, the means and the training activations."""

    if TYPE_CHECKING:
        model: ChatModel
        sizes: Preset
        seed: int
        training: Any

        @property
        def direction(self) -> Direction: ...  # noqa: D102
        @property
        def means(self) -> Means: ...  # noqa: D102

    @property
    def gap(self) -> float:
        """Mean harmful minus mean harmless training projection, residual-stream units: the shift that setting makes."""
        return self.direction.mean_harmful - self.direction.mean_harmless

    def random_units(self) -> list[Float[Tensor, " d_model"]]:
        """Seeded random unit vectors orthogonal to r̂."""
        return [
            random_direction(self.model.d_model, self.seed * 1000 + i, self.direction.unit)
            for i in range(self.sizes.randoms)
        ]

    def permuted_units(self, n: int = 5) -> list[Float[Tensor, " d_model"]]:
        """Unit mean differences of training activations with permuted labels."""
        both = torch.cat([self.training[label][:, self.direction.layer] for label in ("harmful", "harmless")]).double()
        n_first = len(self.training["harmful"])
        units = []
        for i in range(n):
            order = torch.randperm(len(both), generator=torch.Generator().manual_seed(self.seed * 1000 + 500 + i))
            vector = both[order[:n_first]].mean(0) - both[order[n_first:]].mean(0)
            units.append((vector / vector.norm()).float())
        return units

    def random_target(self, unit: Float[Tensor, " d_model"]) -> float:
        """Where setting puts a control direction: the harmless mean on it, plus the shift that setting r̂ makes."""
        at = self.means.positions.index(self.direction.position)
        return float(self.means.harmless[self.direction.layer, at].float() @ unit) + self.gap

    def layer_direction(self, layer: int) -> Direction | None:
        """The difference of means of another layer at r̂'s position, with that layer's means; None where it is zero."""
        at = self.means.positions.index(self.direction.position)
        if float(self.means.candidates[layer, at].norm()) == 0:
            return None
        d = self.direction
        return direction_at(self.model, self.means, layer, d.position, d.prompts, d.method)
