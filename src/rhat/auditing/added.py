"""What an audit adds to the residual stream: the vector, the vector without refusal, r̂, and random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction
from rhat.interventions import Intervention
from rhat.lab import Lab
from rhat.lab.matching import Matched, matched_doses
from rhat.reprs import one_line

LEFT = 1e-3  # share of a vector's length under which nothing of it is left


@dataclass(frozen=True, eq=False)
class Added:
    """A unit vector that is added at one layer.

    seed   of a random one
    share  of a cleaned one: how long what is left of a vector of length 1 is
    """

    condition: str
    unit: Float[Tensor, " d_model"]
    layer: int
    seed: int | None = None
    share: float = 1.0

    __repr__ = one_line

    def at(self, dose: float) -> Intervention:
        """Added `dose` times, at every token."""
        return Intervention("add", self.unit, self.layer, dose)


def cleaned(
    vector: Direction, refusal: Sequence[Float[Tensor, " d_model"]]
) -> tuple[Float[Tensor, " d_model"], float] | None:
    """The part of a unit vector that is orthogonal to some directions: as a unit vector, float32, and its length.

    None where nothing is left.
    """
    basis, _ = torch.linalg.qr(torch.stack([unit.double().cpu() for unit in refusal], 1))
    unit = vector.unit.double().cpu()
    left = unit - basis @ (basis.T @ unit)
    left = left - basis @ (basis.T @ left)  # once more, for what rounding left
    length = float(left.norm())
    return None if length < LEFT else ((left / length).float(), length)


def refusal_at(lab: Lab, layer: int) -> list[Float[Tensor, " d_model"]]:
    """r̂; at another layer than its own the difference of means there as well, where there is one."""
    own = lab.direction
    other = None if layer == own.layer else lab.layer_direction(layer)
    return [own.unit] if other is None else [own.unit, other.unit]


def added(lab: Lab, vector: Direction) -> list[Added]:
    """Everything that is added: at the vector's layer, r̂ at its own."""
    layer = vector.layer
    found = [Added("vector", vector.unit, layer)]
    left = cleaned(vector, refusal_at(lab, layer))
    if left is not None:
        found.append(Added("cleaned", left[0], layer, share=left[1]))
    found.append(Added("rhat", lab.direction.unit, lab.direction.layer))
    return found + [Added("random", unit, layer, lab.seed * 1000 + i) for i, unit in enumerate(lab.random_units())]


def at_equal_kl(
    lab: Lab, some: Sequence[Added], target: float, n: int, dose: float | None = None
) -> tuple[list[Matched], float]:
    """The dose of each at which KL(unedited ‖ steered) on the first n harmless validation prompts is `target` nats, and that target.

    With `dose`, the first keeps that dose and its KL is what the others are matched to.
    """
    start = abs(lab.gap) or 1.0
    matched: list[Matched] = []
    if dose is not None:
        [(_, kl)] = lab.score_conditions([some[0].at(dose)], "harmless", n, "validation", kl=True)
        assert kl is not None
        target = max(float(kl.mean()), 1e-6)
        matched = [Matched(dose, target, True)]
    rest = some[len(matched) :]
    starts = [start / 2] * len(rest)
    return matched + matched_doses(
        lab, [one.at for one in rest], starts, target, "harmless", n, stage="doses of equal KL"
    ), target
