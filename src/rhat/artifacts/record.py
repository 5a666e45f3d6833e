"""Records: the frozen rows of results.json, their units, and what a field may hold.

A record's docstring says what its rows are, the text under a field what it means, its type in which unit. The JSON Schema and
docs/results.md are made from them. A field that was not computed is None here, an empty list () and absent in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rhat.reprs import one_line

R = TypeVar("R", bound="Record")
SLACK = 1e-6  # what rounding in single precision may add to a share or a cosine


def unit(name: str) -> Any:
    """The unit of a number, for the schema and the documentation."""
    return Field(json_schema_extra={"unit": name})


def _between(low: float, high: float, name: str = "") -> Any:
    return Field(ge=low - SLACK, le=high + SLACK, json_schema_extra={"unit": name} if name else None)


Label = Literal["harmful", "harmless", "borderline", "twin"]
Judgement = Literal["better", "worse", "equivalent", "undecided"]
Share = Annotated[float, _between(0, 1, "share")]
Fraction = Annotated[float, _between(0, 1)]  # a p value, an area: between 0 and 1, and no share of anything
Difference = Annotated[float, _between(-1, 1, "share")]
Cosine = Annotated[float, _between(-1, 1)]
Nats = Annotated[float, unit("nats")]
Divergence = Annotated[float, Field(ge=-1e-6, json_schema_extra={"unit": "nats"})]
Units = Annotated[float, unit("residual units")]
Length = Annotated[float, Field(ge=0, json_schema_extra={"unit": "residual units"})]
InUnit = Annotated[float, unit("see `unit`")]
Points = Annotated[float, unit("points")]
HeadCount = Annotated[int, Field(ge=1, json_schema_extra={"unit": "heads"})]
DifferenceUnit = Literal["share", "log-odds"]
Positive = Annotated[float, Field(ge=0)]
Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1, json_schema_extra={"unit": "prompts"})]
Index = Annotated[int, Field(ge=0, json_schema_extra={"unit": "from 0"})]
FromEnd = Annotated[int, Field(le=-1, json_schema_extra={"unit": "from the end"})]
Span = Annotated[tuple[Natural, Natural], unit("from 0")]  # first and last layer, both included
Place = Annotated[tuple[Natural, Natural], unit("from 0")]  # layer and head


class Record(BaseModel):
    """A frozen row; fields by keyword. Fields that a newer version added to a file are ignored when read."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )

    __repr__ = __str__ = one_line

    @classmethod
    def of(cls: type[R], fields: Mapping[str, Any]) -> R:
        """A record of these fields; one that it does not have is an error.

        Raises:
            pydantic.ValidationError: if a field is unknown, missing, or not what it may be.
        """
        return cls.model_validate(fields, extra="forbid")

    def changed(self: R, **fields: Any) -> R:
        """A copy with some fields changed, checked again."""
        return type(self).model_validate(dict(self) | fields)

    def plain(self) -> dict[str, Any]:
        """The record as JSON values, without what was not computed."""
        return self.model_dump(mode="json", exclude_defaults=True)


EITHER: dict[str, Any] = {
    "anyOf": [{"required": ["rate"]}, {"required": ["score_mean"]}],
    "dependentRequired": {"rate": ["ci_low", "ci_high"], "score_mean": ["score_ci_low", "score_ci_high"]},
}


class Measured(Record):
    """A row that was measured by generation, by first-token log-odds, or both."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    rate: Share | None = None
    """share of the answers that are refusals, by generation; needs `ci_low`, `ci_high`"""
    ci_low: Share | None = None
    """95 % interval of `rate` (Wilson), lower end"""
    ci_high: Share | None = None
    """upper end"""
    score_mean: Nats | None = None
    """mean refusal score (first-token log-odds); needs `score_ci_low`, `score_ci_high`"""
    score_ci_low: Nats | None = None
    """95 % interval of `score_mean`, lower end"""
    score_ci_high: Nats | None = None
    """upper end"""
    n: Count
    """prompts (or pairs of answers) measured"""

    @model_validator(mode="after")
    def _whole(self) -> Measured:
        """A rate or a score, each with its interval."""
        if self.rate is None and self.score_mean is None:
            raise ValueError("expected rate or score_mean, got neither")
        for name, needed in EITHER["dependentRequired"].items():
            missing = [end for end in needed if getattr(self, end) is None]
            if getattr(self, name) is not None and missing:
                raise ValueError(f"expected {', '.join(missing)} as well, got {name} alone")
        return self
