"""Operators: what can be done to the projection of an activation on a unit direction.

A new operator is one record in `_RECORDS`. The library, `rhat steer`, the server's request schema, the playground, the report
and docs/steering.md are made from these records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rhat.reprs import one_line


@dataclass(frozen=True)
class Parameter:
    """The one number that an operator may take.

    name     its name in the library, in requests and in results
    symbol   what formulas call it
    label    what a page calls it
    unit     "residual-stream units", or "" for a plain factor
    default  its value where none is given; None: the direction's mean projection of harmful training prompts
    span     the smallest and the largest value that a slider offers; None: it is read by the means, as α
    origin   the mean at which α is 0, "harmless"; "": it is a length, and α is 0 where it is 0
    """

    name: str
    symbol: str
    label: str
    unit: str = "residual-stream units"
    default: float | None = None
    span: tuple[float, float] | None = None
    origin: str = ""

    __repr__ = one_line

    @property
    def default_text(self) -> str:
        """The default in words."""
        return "mean projection of harmful training prompts" if self.default is None else f"{self.default:g}"


@dataclass(frozen=True)
class Operator:
    """The arithmetic of an intervention, with the words that describe it.

    name        how users write it
    arithmetic  (x[..., d_model], r[d_model], value) → x[..., d_model]: a new tensor, nothing edited in place
    formula     the same in symbols: x is the residual stream at a token, r̂ the unit direction
    code        the same as one expression of PyTorch in x[..., d_model], r[d_model] and VALUE, for scripts of other tools
    label       on pages, as a command: "Set the projection"
    word        inside titles and sentences: "set"
    purpose     what it is for
    parameter   the number that it takes; None: none
    everywhere  whether it acts at all layers unless told otherwise
    writers     whether "all layers" includes all that blocks add to the stream, so that r̂ is not written again;
                otherwise it means all block inputs
    """

    name: str
    arithmetic: Callable[[Any, Any, Any], Any]
    formula: str
    code: str
    label: str
    word: str
    purpose: str
    parameter: Parameter | None = None
    everywhere: bool = False
    writers: bool = False

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


def _along(x: Any, r: Any) -> Any:
    """r̂·x with a last dimension of 1."""
    return (x @ r).unsqueeze(-1)


TARGET = Parameter("target", "t", "Target t of the projection", origin="harmless")
COEFFICIENT = Parameter("coefficient", "c", "Coefficient c")

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
    ),
    # Arditi et al. 2024, section 2.4, where c r̂ is the raw difference of means.
    Operator(
        "add",
        lambda x, r, c: x + c * r,
        formula="x + c r̂",
        code="x + VALUE * r",
        label="Add",
        word="add",
        purpose="inducing refusal",
        parameter=COEFFICIENT,
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
    ),
    # Arditi et al. 2024, section 2.4: at every layer, on all that is written to the stream.
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
    ),
)

OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _RECORDS}
"""The operators by name: arithmetic, formula, parameter and words of each."""

PARAMETERS: dict[str, Parameter] = {o.parameter.name: o.parameter for o in _RECORDS if o.parameter is not None}
"""The parameters that operators take, by name."""


def operators_taking(parameter: str) -> tuple[str, ...]:
    """The names of the operators that take this parameter."""
    return tuple(o.name for o in _RECORDS if o.parameter is not None and o.parameter.name == parameter)
