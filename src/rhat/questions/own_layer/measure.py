"""What is measured: ablating at r̂'s own layer alone."""

from rhat.interventions import ablate
from rhat.lab import Asked, Lab
from rhat.lab.rows import Part, compared, rate_row


def own_layer(lab: Lab) -> Part:
    """Refusals of harmful test prompts under ablation at one layer and at all."""
    doings = {"ablate:own": ablate(lab.direction, where="own layer"), "ablate": ablate(lab.direction)}
    own, whole = lab.measure_each(doings, "harmful", lab.sizes.headline).values()
    return Part.of({"rates": [rate_row(own)], **compared([(own, whole)], lab.margin, "own_layer")})


def own_layer_cost(a: Asked) -> None:
    """Both by generation, unless they were measured before."""
    a.measured("ablate", "harmful")
    a.measured("ablate:own", "harmful", a.given.layer)
