"""Fields of a request: an unknown one is rejected by name, and those that may be given without changing an answer are one table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

CHAT, TEXT = "chat", "completions"


@dataclass(frozen=True)
class Tolerated:
    """A field that clients send and that changes no answer here.

    values   those that are accepted besides null; None: any
    routes   the routes that take it
    instead  what to do where another value is meant
    """

    name: str
    values: tuple[Any, ...] | None = None
    routes: tuple[str, ...] = (CHAT, TEXT)
    instead: str = "leave it out"

    def check(self, value: Any) -> None:
        """Raise if this value would change an answer."""
        if value is None or self.values is None or any(value == one for one in self.values):
            return
        given = str(value) if isinstance(value, bool | int | float) else repr(value)
        raise unaccepted(self.name, f"{given[:60]} is not supported by this server; {self.instead}")


_PLAIN = "answers are plain text: ask for the form in the prompt"
TOLERATED = {
    row.name: row
    for row in (
        *(Tolerated(name) for name in ("user", "metadata", "store", "service_tier", "safety_identifier")),
        *(Tolerated(name) for name in ("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options")),
        Tolerated("parallel_tool_calls", routes=(CHAT,)),
        Tolerated("audio", (), (CHAT,)),
        Tolerated("modalities", (["text"],), (CHAT,)),
        Tolerated("prediction", (), (CHAT,)),
        Tolerated("web_search_options", (), (CHAT,)),
        Tolerated(
            "reasoning_effort",
            ("none",),
            (CHAT,),
            "whether this model thinks is set when the server is started; leave it out",
        ),
        Tolerated("verbosity", (), (CHAT,)),
        Tolerated("echo", (False,), (CHAT,), "leave it out; POST /v1/completions has it"),
        Tolerated("suffix", ("",), instead="leave it out: texts are only continued at their end"),
        Tolerated("best_of", (1,), instead="leave it out, and ask for n choices instead"),
        Tolerated("min_p", (0,), instead="leave it out; top_p and top_k are supported"),
        Tolerated("repetition_penalty", (1,), instead="leave it out, or use presence_penalty or frequency_penalty"),
        Tolerated("length_penalty", (1,)),
        Tolerated("use_beam_search", (False,)),
        Tolerated("stop_token_ids", ([],), instead="give strings in stop instead"),
        Tolerated("ignore_eos", (False,)),
        Tolerated("min_tokens", (0,)),
        Tolerated("skip_special_tokens", (True,)),
        *(
            Tolerated(name, (), instead=_PLAIN)
            for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs")
        ),
    )
}
"""By name: any value of the first is accepted, and of the others those at which they mean nothing."""

PYTHON_ONLY = ("extra_body", "extra_headers", "extra_query")  # arguments of OpenAI's client that curl cannot send


def unaccepted(name: str, told: str, code: str = "unsupported_value") -> PydanticCustomError:
    """The error about a field; `failures` gives its name and the code in the answer."""
    context = {"field": name, "told": f"{name}: {told}", "code": code}
    return PydanticCustomError("unaccepted_field", "{told}", context)


def unknown(name: str, known: Iterable[str], inside: Iterable[str] = ()) -> PydanticCustomError:
    """The error about a field that there is not, with the nearest one; `inside` names those that belong into `rhat`."""
    names = [*known]
    shown = name[:60]
    nearest = difflib.get_close_matches(shown.lower(), names, n=1, cutoff=0.6)
    if name in PYTHON_ONLY:
        told = "an argument of OpenAI's Python client, not a field; send what is in it beside the other fields"
    elif name in inside:
        told = f'unknown here; it belongs inside rhat: {{"rhat": {{"{shown}": …}}}}'
    elif nearest:
        told = f"unknown field; did you mean {nearest[0]}?"
    else:
        told = (
            f"unknown field; expected some of {', '.join(names)}" if len(names) < 20 else "unknown field; leave it out"
        )
    return unaccepted(shown, told, "unknown_parameter")


class Known(BaseModel):
    """A part of a request: fields that it does not have are rejected by name, with the nearest one that it has.

    `route` is the route whose tolerated fields are accepted, too; `inside` holds the names that belong into `rhat`.
    """

    model_config = ConfigDict(extra="forbid")

    route: ClassVar[str | None] = None
    inside: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        tolerated = tolerated_by(cls.route)
        kept: dict[Any, Any] = {}
        for name, value in given.items():
            if name in cls.model_fields:
                kept[name] = value
            elif name in tolerated:
                tolerated[name].check(value)
            else:
                raise unknown(str(name), [*cls.model_fields, *tolerated], cls.inside)
        return kept


def tolerated_by(route: str | None) -> dict[str, Tolerated]:
    """The tolerated fields of a route, by name."""
    return {name: row for name, row in TOLERATED.items() if route in row.routes}


def described(route: str) -> Callable[[dict[str, Any]], None]:
    """Adds the tolerated fields of a route to its JSON schema."""

    def add(schema: dict[str, Any]) -> None:
        for name, row in tolerated_by(route).items():
            enum = {} if row.values is None else {"enum": [None, *row.values]}
            schema["properties"][name] = {"description": "Changes no answer.", **enum}

    return add
