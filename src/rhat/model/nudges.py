"""The edits with which a model is checked: noise in one row of a batch, and the removal of a direction."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rhat.model.positions import TokenContext
from rhat.model.precision import wide


@dataclass(frozen=True, eq=False)
class Nudge:
    """Adds noise of the activation's own size to one row of a batch."""

    row: int
    noise: Tensor

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor:
        """The activation with the noise in that row."""
        changed = activation.clone()
        mine = changed[self.row]
        noise = self.noise[: mine.shape[-1]].to(mine)
        changed[self.row] = mine + noise * wide(mine).pow(2).mean().sqrt().clamp_min(1e-3).to(mine)
        return changed

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """Every token."""
        return 0


@dataclass(frozen=True, eq=False)
class Remove:
    """Removes a direction, [d_model] of length 1, from every token."""

    unit: Tensor

    def along(self, activation: Tensor) -> Tensor:
        """What of an activation lies along the direction."""
        exact = wide(activation)
        unit = self.unit.to(exact.device)
        return (exact @ unit)[..., None] * unit

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor:
        """The activation without the direction."""
        return (wide(activation) - self.along(activation)).to(activation)

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """Every token."""
        return 0
