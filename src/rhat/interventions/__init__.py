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
from rhat.model.protocol import AnyIntervention
from rhat.vocabulary import OPERATORS


def __getattr__(name: str) -> Callable[..., Intervention]:
    """Every operator is a function here: `rhat.interventions.NAME(direction, value=…)`, as `intervene` with its name."""
    if name in OPERATORS:
        return partial(intervene, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "OPERATORS",
    "AnyIntervention",
    "Combined",
    "Intervention",
    "ablate",
    "add",
    "combine",
    "intervene",
    "set_projection",
    "subtract",
]
