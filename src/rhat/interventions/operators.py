"""Operators: (activation[..., d], unit[d], value) → activation[..., d]. Pure arithmetic; a new tensor comes back.

Half-precision activations are edited in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Value = float | Tensor  # a number, or one for each row: [batch, 1]
Operator = Callable[[Tensor, Tensor, Value], Tensor]


def _wide(x: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    kind = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    return x.to(kind), unit.to(device=x.device, dtype=kind)


def set_projection(
    x: Float[Tensor, "*batch d_model"], unit: Float[Tensor, " d_model"], value: Value
) -> Float[Tensor, "*batch d_model"]:
    """x − (r̂·x) r̂ + t r̂: the projection becomes t, whatever it was. `value` is t, in residual-stream units."""
    wide, r = _wide(x, unit)
    return (wide + (value - wide @ r).unsqueeze(-1) * r).to(x.dtype)


def add(
    x: Float[Tensor, "*batch d_model"], unit: Float[Tensor, " d_model"], value: Value
) -> Float[Tensor, "*batch d_model"]:
    """x + c r̂: the projection grows by c. Arditi et al. 2024, section 2.4 (there c r̂ is the raw difference of means)."""
    wide, r = _wide(x, unit)
    shift = value.unsqueeze(-1) * r if isinstance(value, Tensor) else value * r
    return (wide + shift).to(x.dtype)


def subtract(
    x: Float[Tensor, "*batch d_model"], unit: Float[Tensor, " d_model"], value: Value
) -> Float[Tensor, "*batch d_model"]:
    """x − c r̂: the projection falls by c."""
    return add(x, unit, -value)


def ablate(
    x: Float[Tensor, "*batch d_model"], unit: Float[Tensor, " d_model"], value: Value = 0.0
) -> Float[Tensor, "*batch d_model"]:
    """x − (r̂·x) r̂: the projection becomes 0. `value` is not used. Arditi et al. 2024, section 2.4."""
    wide, r = _wide(x, unit)
    return (wide - (wide @ r).unsqueeze(-1) * r).to(x.dtype)


OPERATORS: dict[str, Operator] = {
    "set_projection": set_projection,
    "add": add,
    "subtract": subtract,
    "ablate": ablate,
}
