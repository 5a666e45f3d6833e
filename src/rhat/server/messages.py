"""Messages of a conversation as clients send them: text, refusals, calls of tools and what those gave."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from rhat.errors import TemplateError


class TextPart(BaseModel):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


class RefusalPart(BaseModel):
    """An earlier answer's refusal, as OpenAI's models give it; read as the text that it is."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """Its text."""
        return self.refusal


Part = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class FunctionCall(BaseModel):
    """The function that an earlier answer called, its arguments as JSON."""

    name: str
    arguments: str | dict[str, Any] | None = None


class ToolCall(BaseModel):
    """A call in an earlier answer."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall

    def as_template(self) -> dict[str, Any]:
        """As chat templates take it: arguments as an object, where they are one."""
        given: Any = self.function.arguments
        if isinstance(given, str):
            with contextlib.suppress(ValueError):
                given = json.loads(given)
        told = {
            "type": self.type,
            "function": {"name": self.function.name, "arguments": {} if given is None else given},
        }
        return told if self.id is None else {"id": self.id, **told}


class Message(BaseModel):
    """One turn of a conversation. Fields that only say where an answer came from (audio, annotations) are not read."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text_only(cls, content: Any) -> Any:
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind not in ("text", "refusal"):
                raise PydanticCustomError(
                    "no_text",
                    "type {kind} is not supported: this model reads text; send parts of type text",
                    {"kind": repr(kind[:40])},
                )
        return content

    @model_validator(mode="after")
    def _content(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"content: the {self.role}'s turn has none; give its text")
        return self

    @property
    def text(self) -> str:
        """Its text; a refusal is the text of an answer that has no other."""
        if self.content is None:
            return self.refusal or ""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def as_template(self) -> dict[str, Any]:
        """As chat templates take it."""
        role = {"developer": "system", "function": "tool"}.get(self.role, self.role)
        said: dict[str, Any] = {"role": role, "content": self.text}
        if self.tool_calls:
            said["tool_calls"] = [call.as_template() for call in self.tool_calls]
        if role == "tool":
            said |= {key: value for key in ("name", "tool_call_id") if (value := getattr(self, key)) is not None}
        return said


def check_rendered(messages: Sequence[Mapping[str, Any]], rendered: str) -> None:
    """Raise unless what tools gave is in the rendered prompt: some chat templates leave roles out that they do not know.

    Raises:
        TemplateError: if the template does.
    """
    for message in messages:
        said = str(message["content"]).strip()
        forms = (said, json.dumps(said, ensure_ascii=False)[1:-1], json.dumps(said)[1:-1])
        if message["role"] == "tool" and not any(form in rendered for form in forms):
            raise TemplateError(
                "messages: this model's chat template leaves messages with the role tool out; give their text as the user's"
            )
