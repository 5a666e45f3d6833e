"""Controls: random and permuted directions, and the shift that each is given."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction, random_direction
from rhat.selection.finding import direction_at

if TYPE_CHECKING:
    from rhat.model.chat import ChatModel
    from rhat.selection.finding import Finding
    from rhat.selection.means import Means
    from rhat.vocabulary import Preset


class Controls:
    """The part of a lab that makes control directions; the lab has r̂, the means and the training activations."""

    if TYPE_CHECKING:
        model: ChatModel
        sizes: Preset
        seed: int
        finding: Finding
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
        """Unit mean differences of training activations with permuted labels, made orthogonal to r̂."""
        both = torch.cat([self.training[label][:, self.direction.layer] for label in ("harmful", "harmless")]).double()
        n_first = len(self.training["harmful"])
        units = []
        for i in range(n):
            order = torch.randperm(len(both), generator=torch.Generator().manual_seed(self.seed * 1000 + 500 + i))
            units.append(self._orthogonal(both[order[:n_first]].mean(0) - both[order[n_first:]].mean(0)))
        return units

    def covariance_units(self, n: int) -> list[Float[Tensor, " d_model"]]:
        """Normal draws with the covariance of training activations within their labels, made orthogonal to r̂, unit length.

        Residual streams vary in few directions: such a draw points where the model's own activations do.
        """
        sides = [self.training[label][:, self.direction.layer].double() for label in ("harmful", "harmless")]
        centred = torch.cat([side - side.mean(0) for side in sides])
        units = []
        for i in range(n):
            generator = torch.Generator().manual_seed(self.seed * 1000 + 600 + i)
            units.append(
                self._orthogonal(torch.randn(len(centred), generator=generator, dtype=torch.float64) @ centred)
            )
        return units

    def topic_units(self, n: int) -> list[Float[Tensor, " d_model"]]:
        """Unit mean differences between two categories of harmless training prompts, made orthogonal to r̂: seeded pairs.

        None where the prompts name fewer than two categories; fewer than n where there are fewer pairs.
        """
        some = self.finding.kept["train"]["harmless"][:256]
        rows = self.training["harmless"][:, self.direction.layer].double()
        where = {
            name: [i for i, p in enumerate(some) if p.category == name]
            for name in dict.fromkeys(p.category for p in some if p.category)
        }
        pairs = list(combinations(where, 2))
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(self.seed * 1000 + 700)).tolist()
        return [
            self._orthogonal(rows[where[pairs[i][0]]].mean(0) - rows[where[pairs[i][1]]].mean(0)) for i in order[:n]
        ]

    def control_units(self) -> dict[str, list[Float[Tensor, " d_model"]]]:
        """Control directions by kind, as many of each as the preset asks for, where there are any; unit length, orthogonal to r̂."""
        n = self.sizes.randoms
        found = {
            "isotropic": self.random_units(),
            "covariance_matched": self.covariance_units(n),
            "permuted_labels": self.permuted_units(n),
            "harmless_topic": self.topic_units(n),
        }
        return {kind: units for kind, units in found.items() if units}

    def _orthogonal(self, vector: Tensor) -> Float[Tensor, " d_model"]:
        """The part of a vector that is orthogonal to r̂, float32, unit length."""
        unit = self.direction.unit.double().cpu()
        left = vector - (vector @ unit) / (unit @ unit) * unit
        orthogonal: Tensor = (left / left.norm()).float()
        return orthogonal

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
