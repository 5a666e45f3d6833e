"""Interventions: operator × direction × sites × token scope.  `with intervention.on(model): …`"""

from rhat.interventions.intervention import (
    Combined,
    Dispatch,
    Intervention,
    ablate,
    add,
    combine,
    intervene,
    set_projection,
    subtract,
)
from rhat.interventions.operators import OPERATORS

__all__ = [
    "OPERATORS",
    "Combined",
    "Dispatch",
    "Intervention",
    "ablate",
    "add",
    "combine",
    "intervene",
    "set_projection",
    "subtract",
]
