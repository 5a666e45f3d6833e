"""What clients may send: OpenAI's fields, and `rhat`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from rhat.server.fields import CHAT, TEXT, Known, described, unaccepted
from rhat.server.messages import Message, TextPart
from rhat.server.specs import INSIDE, Flag, Name, Number, Rhat

SEED = 2**63


class StreamOptions(Known):
    """Options of a stream."""

    include_usage: Flag = False
    include_obfuscation: Flag | None = Field(None, description="Changes nothing here.")


class ResponseFormat(BaseModel):
    """Only plain text is written."""

    type: Literal["text"]

    @model_validator(mode="before")
    @classmethod
    def _text(cls, given: Any) -> Any:
        kind = given.get("type") if isinstance(given, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise unaccepted(
                "type", f"{kind[:40]} is not supported: answers are plain text; ask for JSON in the prompt"
            )
        return given


class Sampled(Known):
    """What chat and plain completions have in common."""

    inside = INSIDE

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
    rhat: Rhat | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None or self.stop == "":
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


ToolChoice = Annotated[Any, WithJsonSchema({"enum": [None, "none", "auto"]})]


class ChatRequest(Sampled):
    """`POST /v1/chat/completions`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=described(CHAT))
    route = CHAT

    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]
    max_completion_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    logprobs: Flag | None = False
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Any] | None = Field(None, description="Accepted where no call is required; none is made.")
    tool_choice: ToolChoice = Field(None, description="none or auto.")
    functions: list[Any] | None = Field(None, description="As tools, in OpenAI's older form.")
    function_call: ToolChoice = Field(None, description="As tool_choice.")

    @model_validator(mode="after")
    def _no_call(self) -> ChatRequest:
        for name in ("tool_choice", "function_call"):
            choice = getattr(self, name)
            if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
                allowed = choice.get("allowed_tools")
                choice = allowed.get("mode") if isinstance(allowed, dict) else allowed
            if choice not in (None, "none", "auto"):
                raise unaccepted(name, "a call is required, and this server calls no tools; expected none or auto")
        return self

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields that were accepted and that the model is not shown."""
        return tuple(name for name in ("tools", "functions") if getattr(self, name))


Token = Annotated[int, Field(strict=True, ge=0)]


class CompletionRequest(Sampled):
    """`POST /v1/completions`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=described(TEXT))
    route = TEXT

    max_tokens: Annotated[int, Field(strict=True, ge=0)] | None = Field(16, description="0 with `echo` only.")
    prompt: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1)]
    )
    logprobs: Annotated[int, Field(strict=True, ge=0, le=5)] | None = None
    echo: Flag | None = False

    @property
    def least(self) -> int:
        """The least number of new tokens: with `echo` a prompt may be read without any."""
        return 0 if self.echo else 1

    @model_validator(mode="after")
    def _something(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo:
            raise unaccepted("max_tokens", "got 0, expected at least 1; 0 is for reading prompts, with echo")
        if self.max_tokens == 0 and self.rhat is not None and self.rhat.return_projections:
            raise unaccepted("max_tokens", "got 0 with return_projections, expected at least 1")
        return self


class ModerationRequest(Known):
    """`POST /v1/moderations`."""

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
    def conversations(self) -> list[list[dict[str, Any]]]:
        """What to score, each as the messages of a conversation; a text is one user turn."""
        items: list[Any] = [self.input] if isinstance(self.input, str) else list(self.input)
        if isinstance(items[0], Message):
            items = [items]
        return [
            [message.as_template() for message in item]
            if isinstance(item, list)
            else [{"role": "user", "content": item if isinstance(item, str) else item.text}]
            for item in items
        ]
