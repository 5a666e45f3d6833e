"""What the routes and the playground work with: the model, its directions, and the thread that runs it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from rhat.errors import TemplateError
from rhat.model import ChatModel
from rhat.model.template import render
from rhat.server.errors import RequestError
from rhat.server.metrics import Metrics
from rhat.server.options import Directions, Part
from rhat.server.runner import Runner
from rhat.server.settings import Settings

ALIASES = ("default", "rhat")


@dataclass(eq=False)
class Service:
    """What the routes work with."""

    model: ChatModel
    directions: Directions
    settings: Settings
    default: tuple[Part, ...]
    runner: Runner
    metrics: Metrics
    tokenizer: Any  # the event loop's own: the engine thread uses the model's
    lock: threading.Lock
    created: int

    async def chat_tokens(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        """Token ids of a conversation.

        Raises:
            RequestError: if the chat template does not take it.
        """
        system = self.model.template.system
        if any(message["role"] == "system" for message in messages):
            system = None

        def work() -> tuple[int, ...]:
            with self.lock:
                return render(self.tokenizer, messages, system, self.model.response_prefix)

        try:
            return await asyncio.to_thread(work)
        except TemplateError as error:
            raise RequestError(400, str(error), param="messages") from error

    async def raw_tokens(self, text: str) -> tuple[int, ...]:
        """Token ids of a text without any template."""

        def work() -> tuple[int, ...]:
            with self.lock:
                return tuple(self.tokenizer(text)["input_ids"])

        return await asyncio.to_thread(work)

    def token_text(self, token: int) -> str:
        """A token's text, special ones shown."""
        return str(self.tokenizer.decode([token]))

    def check_model(self, name: str) -> None:
        """Raise unless that is the model that is served."""
        if name not in (self.model.name, *ALIASES):
            raise RequestError(
                404,
                f"model {name[:80]!r}: not served here; this server has {self.model.name}",
                code="model_not_found",
                param="model",
            )

    def check_length(self, tokens: tuple[int, ...], asked: int | None) -> int:
        """How many tokens an answer to this prompt may have.

        Raises:
            RequestError: if prompt and answer do not fit, or more is asked for than the server gives.
        """
        limit, most = self.settings.max_length, self.settings.max_tokens
        if not tokens:
            raise RequestError(400, "the prompt is empty; give at least one token", param="prompt")
        if asked is not None and asked > most:
            raise RequestError(400, f"max_tokens: got {asked}, at most {most} are given here", param="max_tokens")
        room = limit - len(tokens)
        if room < (asked or 1):
            raise RequestError(
                400,
                f"the prompt has {len(tokens)} tokens and {asked or 1} are asked for; at most {limit} fit together",
                code="context_length_exceeded",
                param="messages",
            )
        return asked if asked is not None else min(most, room)


def service_of(request: Request) -> Service:
    """The service that this application was made for."""
    service: Service = request.app.state.rhat
    return service
