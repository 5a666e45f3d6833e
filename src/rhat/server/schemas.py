"""What clients may send: OpenAI's fields, and `rhat`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)

from rhat.vocabulary import OPERATORS, PARAMETERS
from rhat.vocabulary.operators import operators_taking
from rhat.vocabulary.scopes import WRITTEN

Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Mean = Literal["harmful_mean", "harmless_mean"]

MAX_INTERVENTIONS = 16
SEED = 2**63
UNSUPPORTED = (
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "audio",
    "modalities",
    "prediction",
    "web_search_options",
)


class _Intervention(BaseModel):
    """One intervention: operator × direction × layer × tokens."""

    model_config = ConfigDict(extra="forbid")

    op: str
    direction: Name | None = Field(
        None, description="A direction's name; may be left out where the server has only one."
    )
    scope: Annotated[str, Field(max_length=40)] = Field("all", description=f"One of {WRITTEN}.")
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
    default = "the harmful mean" if parameter.default is None else parameter.default_text
    kind = Number | Mean | None if parameter.unit else Number | None
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


class RhatOptions(BaseModel):
    """What a request wants of rhat."""

    model_config = ConfigDict(extra="forbid")

    interventions: Annotated[list[InterventionSpec], Field(max_length=MAX_INTERVENTIONS)] | None = None
    return_projections: Flag = False
    projection_direction: Name | None = None


def _options(value: Any) -> Any:
    """One intervention or a list of them as options; an intervention may have options beside its own fields."""
    if isinstance(value, list):
        return {"interventions": value}
    if isinstance(value, dict) and "interventions" not in value:
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
                        "projection_direction": {"type": "string"},
                    },
                },
            ],
        }
    ),
]


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: Flag = False


class ResponseFormat(BaseModel):
    """Only plain text is written."""

    type: Literal["text"]


class Sampled(BaseModel):
    """What chat and plain completions have in common."""

    model_config = ConfigDict(extra="allow")

    model: Name
    max_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = 1.0
    top_k: Annotated[int, Field(strict=True, ge=-1)] | None = None
    n: Annotated[int, Field(strict=True, ge=1)] | None = 1
    seed: Annotated[int, Field(strict=True, ge=-SEED, lt=SEED)] | None = None
    stop: (
        Annotated[str, Field(max_length=256)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=16)]
        | None
    ) = None
    stream: Flag | None = False
    stream_options: StreamOptions | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = 0.0
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: Annotated[dict[str, Annotated[Number, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = None
    user: str | None = None
    rhat: Rhat | None = None

    @model_validator(mode="after")
    def _supported(self) -> Sampled:
        given = self.model_extra or {}
        for name in UNSUPPORTED:
            if given.get(name) not in (None, [], {}, "none", ["text"]):
                raise ValueError(f"{name} is not supported by this server; leave it out")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None or self.stop == "":
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class TextPart(BaseModel):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """Its text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(Sampled):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]
    max_completion_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    logprobs: Flag | None = False
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None


Token = Annotated[int, Field(strict=True, ge=0)]


class CompletionRequest(Sampled):
    """`POST /v1/completions`."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1)]
    )
    logprobs: Annotated[int, Field(strict=True, ge=0, le=5)] | None = None
    echo: Flag | None = False
    suffix: str | None = None
    best_of: Count | None = None

    @field_validator("echo", "suffix")
    @classmethod
    def _absent(cls, value: Any) -> Any:
        if value:
            raise ValueError("is not supported by this server; leave it out")
        return value

    @field_validator("best_of")
    @classmethod
    def _one(cls, value: int | None) -> int | None:
        if value not in (None, 1):
            raise ValueError("is not supported by this server; leave it out, and ask for n choices instead")
        return value


class ModerationRequest(BaseModel):
    """`POST /v1/moderations`."""

    model_config = ConfigDict(extra="allow")

    input: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[TextPart], Field(min_length=1)]
        | Annotated[list[Message], Field(min_length=1)]
        | Annotated[list[Annotated[list[Message], Field(min_length=1)]], Field(min_length=1)]
    ) = Field(description="A text, texts, a conversation (messages up to the user's last turn), or conversations.")
    model: Name | None = None
    direction: Name | None = Field(None, description="The direction to score with; the server's first without it.")

    @property
    def conversations(self) -> list[list[dict[str, str]]]:
        """What to score, each as the messages of a conversation; a text is one user turn."""
        items: list[Any] = [self.input] if isinstance(self.input, str) else list(self.input)
        if isinstance(items[0], Message):
            items = [items]
        return [
            [{"role": message.role, "content": message.text} for message in item]
            if isinstance(item, list)
            else [{"role": "user", "content": item if isinstance(item, str) else item.text}]
            for item in items
        ]
