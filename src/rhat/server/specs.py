"""What a request may ask of rhat: interventions, their directions (by name or given with it), and projections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model, model_validator

from rhat.server.fields import Known, unknown
from rhat.vocabulary import OPERATORS, PARAMETERS
from rhat.vocabulary.operators import operators_taking
from rhat.vocabulary.scopes import WRITTEN

Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Mean = Literal["harmful_mean", "harmless_mean"]

MAX_INTERVENTIONS = 16


class GivenDirection(Known):
    """A direction that comes with the request, or is put on the server, instead of a name."""

    vector: Annotated[list[Number], Field(min_length=1, max_length=200_000)] = Field(
        description="The vector, of any length; it should point towards refusal."
    )
    site: Annotated[str, Field(max_length=40)] = Field(description="Where it acts, such as resid_pre.16.")
    position: Annotated[int, Field(strict=True, lt=0)] = Field(
        -1, description="Prompt position at which it is read; −1 is the last token."
    )
    mean_harmful: Number | None = Field(None, description="Mean projection of harmful prompts, if known.")
    mean_harmless: Number | None = Field(None, description="Mean projection of harmless prompts, if known.")


Given = Annotated[GivenDirection, WithJsonSchema(GivenDirection.model_json_schema())]  # without references


class _Intervention(Known):
    """One intervention: operator × direction × layer × tokens."""

    op: str
    direction: Name | Given | None = Field(
        None, description="A direction's name, or one given here; without it the server's first."
    )
    scope: Annotated[str, Field(max_length=40)] = Field("all", description=f"One of {WRITTEN}.")
    alpha: Number | None = Field(
        None,
        description="In place of the number of an operator that is read by the means: 0 is the harmless mean, 1 the harmful one; "
        "of a coefficient, 1 is the gap between them.",
    )
    layer: Annotated[int, Field(strict=True, ge=0)] | None = Field(None, description="Without it the direction's own.")
    where: (
        Literal["own layer", "all layers"]
        | Annotated[list[Annotated[int, Field(strict=True, ge=0)]], Field(min_length=1, max_length=1000)]
        | None
    ) = Field(
        None,
        description="Or a list of layers. Without it the own layer, and all layers for "
        f"{', '.join(o.name for o in OPERATORS.values() if o.everywhere)}.",
    )
    when: Literal["above", "below", "certified"] | None = Field(
        None,
        description="Only where the projection is above, or at or below, the threshold; certified: as certified.",
    )
    threshold: Number | None = Field(None, description="Instead of the calibrated one, with `when`.")

    @model_validator(mode="after")
    def _fitting(self) -> _Intervention:
        for name in PARAMETERS:
            if getattr(self, name) is not None and self.op not in operators_taking(name):
                raise ValueError(f"{name} is for {' and '.join(operators_taking(name))}, the operator is {self.op}")
        if self.alpha is not None and self.value is not None:
            raise ValueError("got alpha and a number of its own, expected one of them")
        if self.threshold is not None and self.when is None:
            raise ValueError("threshold is for conditional interventions: say when, 'above' or 'below'")
        if self.when == "certified" and (
            self.op != "set_projection" or self.model_fields_set - {"op", "direction", "when"}
        ):
            raise ValueError(
                "when 'certified' brings target and threshold: give op set_projection and a direction at most"
            )
        return self

    @property
    def value(self) -> float | Mean | None:
        """The number that the operator takes, whatever it is called; None: its default."""
        parameter = OPERATORS[self.op].parameter
        return None if parameter is None else getattr(self, parameter.name)


def _of_parameter(name: str) -> tuple[Any, Any]:
    """The field of an operator's parameter; numbers in residual-stream units may be given as one of the two means."""
    parameter = PARAMETERS[name]
    default = f"the {parameter.mean} mean" if parameter.default is None else parameter.default_text
    kind = Number | Mean | None if parameter.by_means else Number | None
    return kind, Field(None, description=f"For {' and '.join(operators_taking(name))}; without it {default}.")


if TYPE_CHECKING:
    InterventionSpec = _Intervention
else:
    InterventionSpec = create_model(
        "InterventionSpec",
        __base__=_Intervention,
        __doc__=_Intervention.__doc__,
        op=(Literal[tuple(OPERATORS)], ...),
        **{name: _of_parameter(name) for name in PARAMETERS},
    )


class RhatOptions(Known):
    """What a request wants of rhat."""

    interventions: Annotated[list[InterventionSpec], Field(max_length=MAX_INTERVENTIONS)] | None = None
    return_projections: Flag = False
    projection_direction: Name | Given | None = None


INSIDE = frozenset({*InterventionSpec.model_fields, *RhatOptions.model_fields})
"""Names that mean something inside a request's `rhat`."""


def _options(value: Any) -> Any:
    """One intervention or a list of them as options; an intervention may have options beside its own fields."""
    if isinstance(value, list):
        return {"interventions": value}
    if isinstance(value, dict) and "interventions" not in value:
        for name in value:
            if name not in INSIDE:
                raise unknown(str(name), sorted(INSIDE))
        options = {k: v for k, v in value.items() if k in RhatOptions.model_fields}
        one = {k: v for k, v in value.items() if k not in RhatOptions.model_fields}
        return {**options, "interventions": [one]} if one else options
    return value


Rhat = Annotated[
    RhatOptions,
    BeforeValidator(_options),
    WithJsonSchema(
        {
            "description": "An intervention, a list of them (empty: none, whatever the server's default), or options.",
            "anyOf": [
                {"type": "array", "maxItems": MAX_INTERVENTIONS, "items": InterventionSpec.model_json_schema()},
                InterventionSpec.model_json_schema(),
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "interventions": {
                            "type": "array",
                            "maxItems": MAX_INTERVENTIONS,
                            "items": InterventionSpec.model_json_schema(),
                        },
                        "return_projections": {"type": "boolean"},
                        "projection_direction": {"anyOf": [{"type": "string"}, GivenDirection.model_json_schema()]},
                    },
                },
            ],
        }
    ),
]
