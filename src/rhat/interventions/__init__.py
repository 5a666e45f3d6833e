"""Interventions: an operator, a direction, sites and a token scope, applied by `with intervention.on(model)`."""

from collections.abc import Callable
from functools import partial

from rhat.interventions.combined import Combined, combine
from rhat.interventions.intervention import (
    Intervention,
    ablate,
    add,
    intervene,
    set_projection,
    subtract,
)
from rhat.interventions.second import (
    AngleInPlane,
    NullSpaceSteering,
    angle_in_plane,
    null_space_steering,
)
from rhat.interventions.subspace import ablate_subspace, at_own_layers, orthonormal, set_subspace
from rhat.model.protocol import AnyIntervention
from rhat.vocabulary import OPERATORS


def __getattr__(name: str) -> Callable[..., Intervention]:
    """Every operator is a function here: `rhat.interventions.NAME(direction, value=…)`, as `intervene` with its name."""
    if name in OPERATORS:
        return partial(intervene, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "OPERATORS",
    "AngleInPlane",
    "AnyIntervention",
    "Combined",
    "Intervention",
    "NullSpaceSteering",
    "ablate",
    "ablate_subspace",
    "add",
    "angle_in_plane",
    "at_own_layers",
    "combine",
    "intervene",
    "null_space_steering",
    "orthonormal",
    "set_projection",
    "set_subspace",
    "subtract",
]
