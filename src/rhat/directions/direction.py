"""Direction: r̂, with its site, its scale and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import DirectionError
from rhat.sites import Site


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector in the residual stream; positive projections lean towards refusal.

    unit           r̂, float32, length 1
    site           where it was found: its layer is where set_projection and add act
    position       prompt position it was read at, −1 the last prompt token
    norm           length of the raw difference of means, in residual-stream units
    mean_harmful   mean of r̂·x over harmful training prompts at site and position (the default target)
    mean_harmless  the same over harmless ones
    method         the finder's name
    model          name and identity of the model it belongs to
    prompts        fingerprint of the contrast set
    extra          anything else worth keeping (versions, counts)
    """

    unit: Float[Tensor, " d_model"]
    site: Site
    position: int
    norm: float
    mean_harmful: float
    mean_harmless: float
    method: str = "mean_difference"
    model: Mapping[str, Any] = field(default_factory=dict)
    prompts: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit.ndim != 1 or not bool(torch.isfinite(self.unit).all()):
            raise DirectionError(f"direction: got shape {tuple(self.unit.shape)}, expected one finite vector")
        length = float(self.unit.double().norm())
        if abs(length - 1) > 1e-3:
            raise DirectionError(
                f"direction: got a vector of length {length:.4g}, expected a unit vector; divide by its length"
            )

    @property
    def layer(self) -> int:
        """The layer it was found at."""
        return self.site.layer

    def describe(self) -> dict[str, Any]:
        """Where it was found and how long it is, as JSON may hold it."""
        return {
            "site": str(self.site),
            "layer": self.layer,
            "position": self.position,
            "norm": self.norm,
            "mean_harmful": self.mean_harmful,
            "mean_harmless": self.mean_harmless,
            "method": self.method,
        }

    def project(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """r̂·x in float64, in residual-stream units."""
        return activations.double() @ self.unit.to(activations.device).double()

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file with everything above in its metadata."""
        from rhat.artifacts.tensors import save_direction

        return save_direction(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Direction:
        """Read what `save` wrote.

        Raises:
            DirectionError: if the file is missing or is not a direction.
        """
        from rhat.artifacts.tensors import load_direction

        return cls(**load_direction(path))

    def check_fits(self, model: Any) -> Direction:
        """This direction, if it belongs to `model` (a ChatModel): same width, layer in range, same weights.

        Raises:
            DirectionError: saying what differs.
        """
        if len(self.unit) != model.d_model:
            raise DirectionError(
                f"direction of {self.model.get('name', 'another model')}: got width {len(self.unit)}, {model.name} has "
                f"{model.d_model}; find r̂ on this model with `rhat find`"
            )
        self.site.within(model.n_layers)
        known = self.model.get("revision_or_sha256")
        if known and known != model.identity:
            raise DirectionError(
                f"direction of another model: it was found on {self.model.get('name')} ({str(known)[:12]}), this is "
                f"{model.name} ({model.identity[:12]}); find r̂ on this model with `rhat find`"
            )
        return self
