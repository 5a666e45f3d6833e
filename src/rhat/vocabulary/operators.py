"""Operators: what can be done to the projection of an activation on a unit direction.

A new operator is one record in `_RECORDS`. The library, `rhat steer`, the server's request schema, the playground, the report
and docs/steering.md are made from these records.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rhat.reprs import one_line
from rhat.vocabulary import arithmetic
from rhat.vocabulary.parameters import ANGLE, CEILING, COEFFICIENT, TARGET, Parameter, Way


@dataclass(frozen=True)
class Operator:
    """The arithmetic of an intervention, with the words that describe it.

    name        how users write it
    arithmetic  (x[..., d_model], r[d_model], value) → x[..., d_model]: a new tensor, nothing edited in place
    formula     the same in symbols: x is the residual stream at a token, r̂ the unit direction
    code        the same as one expression of PyTorch in x[..., d_model], r[d_model], VALUE and math, for scripts of other tools
    label       on pages, as a command: "Set the projection"
    word        inside titles and sentences: "set"
    purpose     what it is for
    parameter   the number that it takes; None: none
    way         which way that number goes; None: there is none
    everywhere  whether it acts at all layers unless told otherwise
    writers     whether "all layers" includes all that blocks add to the stream, so that r̂ is not written again;
                otherwise it means all block inputs
    once        of those with `writers`: whether only the first block's input is edited beside what blocks add, so that
                everything that is written is edited once; what is not idempotent needs that
    source      where it was published, with the equation; "": nowhere that is known here
    """

    name: str
    arithmetic: Callable[[Any, Any, Any], Any]
    formula: str
    code: str
    label: str
    word: str
    purpose: str
    parameter: Parameter | None = None
    way: Way | None = None
    everywhere: bool = False
    writers: bool = False
    once: bool = False
    source: str = ""

    __repr__ = one_line

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name: workers have the same table, and arithmetic cannot be pickled."""
        return operator_named, (self.name,)

    def __call__(self, x: Any, unit: Any, value: Any = 0.0) -> Any:
        """The edited activation, in `x`'s dtype and shape [..., d_model].

        `value` is in the parameter's unit, a number or a tensor that broadcasts to [..., 1]; it is ignored by an operator that
        takes none. Half-precision activations are edited in float32 and rounded once.
        """
        wide = x.float() if x.element_size() < 4 else x
        return self.arithmetic(wide, unit.to(device=wide.device, dtype=wide.dtype), value).to(x.dtype)


def operator_named(name: str) -> Operator:
    """The operator of that name: how one is found again in another process."""
    return OPERATORS[name]


_along = arithmetic.along

AROUND = Way("answers", still=None, least=0.0, most=180.0)

AT_ANGLE = (
    "x.norm(dim=-1, keepdim=True) * (math.cos(math.radians(VALUE)) * r + math.sin(math.radians(VALUE)) "
    "* (u := x - (x @ r).unsqueeze(-1) * r) / u.norm(dim=-1, keepdim=True))"
)

_RECORDS = (
    Operator(
        "set_projection",
        lambda x, r, t: x + (t - _along(x, r)) * r,
        formula="x − (r̂·x) r̂ + t r̂",
        code="x + (VALUE - x @ r).unsqueeze(-1) * r",
        label="Set the projection",
        word="set",
        purpose="inducing refusal",
        parameter=TARGET,
        way=Way("refusal", still=None),
        source="affine concept editing, Marshall et al. 2024, arXiv 2411.09003: x − proj(x) + proj(μ⁻) + α r, so t = r̂·μ⁻ + α ‖r‖",
    ),
    Operator(
        "add",
        lambda x, r, c: x + c * r,
        formula="x + c r̂",
        code="x + VALUE * r",
        label="Add",
        word="add",
        purpose="inducing refusal",
        parameter=COEFFICIENT,
        way=Way("refusal", least=0.0),
        source="Arditi et al. 2024, arXiv 2406.11717, section 2.4, where c r̂ is the raw difference of means",
    ),
    Operator(
        "subtract",
        lambda x, r, c: x - c * r,
        formula="x − c r̂",
        code="x - VALUE * r",
        label="Subtract",
        word="subtract",
        purpose="removing refusal",
        parameter=COEFFICIENT,
        way=Way("answers", least=0.0),
    ),
    Operator(
        "ablate",
        lambda x, r, _: x - _along(x, r) * r,
        formula="x − (r̂·x) r̂",
        code="x - (x @ r).unsqueeze(-1) * r",
        label="Ablate",
        word="ablate",
        purpose="removing refusal",
        everywhere=True,
        writers=True,
        source="Arditi et al. 2024, arXiv 2406.11717, section 2.4: at every layer, on all that is written to the stream",
    ),
    Operator(
        "ablate_partially",
        lambda x, r, a: x - a * _along(x, r) * r,
        formula="x − a (r̂·x) r̂",
        code="x - VALUE * (x @ r).unsqueeze(-1) * r",
        label="Ablate a share",
        word="ablate a share",
        purpose="removing a share of refusal",
        parameter=Parameter("share", "a", "Share a that is removed", unit="", default=0.5, span=(0.0, 1.0)),
        way=Way("answers", least=0.0, most=1.0),
        everywhere=True,
        writers=True,
        once=True,
    ),
    # Between ablation (s = 0) and no edit (s = 1); beyond 1 it strengthens what is there. At one layer: repeated at every
    # block's input it would multiply.
    Operator(
        "scale",
        lambda x, r, s: x + (s - 1) * _along(x, r) * r,
        formula="x + (s − 1) (r̂·x) r̂",
        code="x + (VALUE - 1) * (x @ r).unsqueeze(-1) * r",
        label="Scale the projection",
        word="scale",
        purpose="weakening or strengthening what is there",
        parameter=Parameter("factor", "s", "Factor s", unit="", default=0.5, span=(-1.0, 3.0)),
        way=Way("refusal", still=1.0),
    ),
    Operator(
        "raise_projection",
        arithmetic.raise_projection,
        formula="x + max(0, t − r̂·x) r̂",
        code="x + (VALUE - x @ r).clamp(min=0).unsqueeze(-1) * r",
        label="Raise the projection",
        word="raise",
        purpose="inducing refusal, tokens below t alone",
        parameter=TARGET,
        way=Way("refusal", still=-math.inf),
        source="steering to a target projection, Herbster et al. 2026, arXiv 2604.08169, with the threshold at the target",
    ),
    Operator(
        "cap_projection",
        arithmetic.cap_projection,
        formula="x − max(0, r̂·x − t) r̂",
        code="x - (x @ r - VALUE).clamp(min=0).unsqueeze(-1) * r",
        label="Cap the projection",
        word="cap",
        purpose="removing refusal, tokens above t alone",
        parameter=CEILING,
        way=Way("refusal", still=math.inf),
    ),
    Operator(
        "add_keeping_norm",
        arithmetic.add_keeping_norm,
        formula="(x + c r̂) ‖x‖ / ‖x + c r̂‖",
        code="(x + VALUE * r) * x.norm(dim=-1, keepdim=True) / (x + VALUE * r).norm(dim=-1, keepdim=True)",
        label="Add, keeping the norm",
        word="add, keeping the norm",
        purpose="inducing refusal",
        parameter=COEFFICIENT,
        way=Way("refusal"),
        source="`normalize` in the code of Zou et al. 2023, arXiv 2310.01405",
    ),
    Operator(
        "rotate",
        arithmetic.rotate,
        formula="cos φ x + sin φ ‖x‖ t̂, t̂ the unit vector at x towards r̂",
        code="math.cos(math.radians(VALUE)) * x + math.sin(math.radians(VALUE)) * (n := x.norm(dim=-1, keepdim=True)) "
        "* (t := r - (x @ r).unsqueeze(-1) * x / n**2) / t.norm(dim=-1, keepdim=True)",
        label="Rotate towards r̂",
        word="rotate",
        purpose="inducing refusal, or removing it by a negative angle; the norm is kept",
        parameter=Parameter(
            "rotation", "φ", "Rotation φ towards r̂, in degrees", unit="degrees", default=15.0, span=(-90.0, 90.0)
        ),
        way=Way("refusal", least=-180.0, most=180.0),
    ),
    Operator(
        "set_angle",
        arithmetic.set_angle,
        formula="‖x‖ (cos θ r̂ + sin θ û), û the unit vector of x − (r̂·x) r̂",
        code=AT_ANGLE,
        label="Set the angle",
        word="set the angle",
        purpose="removing refusal (90 degrees) or inducing it (less); the norm is kept",
        parameter=ANGLE,
        way=AROUND,
        source="angular steering, Vu & Nguyen 2025, arXiv 2510.26243, in the plane of r̂ and x",
    ),
    Operator(
        "set_angle_if_aligned",
        arithmetic.set_angle_if_aligned,
        formula="‖x‖ (cos θ r̂ + sin θ û) where r̂·x > 0, else x",
        code=f"({AT_ANGLE}).where((x @ r).unsqueeze(-1) > 0, x)",
        label="Set the angle where r̂·x > 0",
        word="set the angle if aligned",
        purpose="removing refusal, in tokens that lean towards it alone; the norm is kept",
        parameter=ANGLE,
        way=AROUND,
        source="adaptive angular steering, Vu & Nguyen 2025, arXiv 2510.26243, in the plane of r̂ and x",
    ),
)

OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _RECORDS}
"""The operators by name: arithmetic, formula, parameter and words of each."""

PARAMETERS: dict[str, Parameter] = {o.parameter.name: o.parameter for o in _RECORDS if o.parameter is not None}
"""The parameters that operators take, by name."""


def operators_taking(parameter: str) -> tuple[str, ...]:
    """The names of the operators that take this parameter."""
    return tuple(o.name for o in _RECORDS if o.parameter is not None and o.parameter.name == parameter)
