"""What the routes and the playground work with: the model, its directions, and the thread that runs it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from rhat.errors import TemplateError
from rhat.generation.text import pieces_of
from rhat.model import ChatModel
from rhat.model.template import render
from rhat.server.errors import RequestError
from rhat.server.messages import check_rendered
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

    async def chat_tokens(self, messages: list[dict[str, Any]]) -> tuple[int, ...]:
        """Token ids of a conversation.

        Raises:
            RequestError: if the chat template does not take it.
        """
        system = self.model.template.system
        if any(message["role"] == "system" for message in messages):
            system = None

        def work() -> tuple[int, ...]:
            with self.lock:
                tokens = render(
                    self.tokenizer, messages, system, self.model.response_prefix, self.model.template.thinking
                )
                if any(message["role"] == "tool" for message in messages):
                    check_rendered(messages, self.tokenizer.decode(list(tokens)))
                return tokens

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

    async def echo(self, tokens: tuple[int, ...], text: str | None) -> tuple[str, tuple[str, ...]]:
        """A prompt as it is repeated: its text, and the piece of each token, special ones shown where the text has them."""

        def work() -> tuple[str, tuple[str, ...]]:
            with self.lock:
                whole = self.tokenizer.decode(list(tokens)) if text is None else text
                return whole, pieces_of(self.tokenizer, tokens, whole)

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

    @property
    def max_length(self) -> int:
        """Most tokens of a prompt and its answer: the setting, or the model's own limit where that is smaller."""
        return self.runner.max_length

    def room(self, tokens: tuple[int, ...], asked: int | None = None, least: int = 1) -> int:
        """How many tokens an answer to this prompt may have: those asked for, cut to what the server gives.

        Raises:
            RequestError: if not even `least` fit after the prompt.
        """
        limit, most = self.max_length, self.settings.max_tokens
        if not tokens:
            raise RequestError(400, "the prompt is empty; give at least one token", param="prompt")
        left = limit - len(tokens)
        if left < least:
            raise_it = ", or start the server with a larger --max-length" if limit == self.settings.max_length else ""
            raise RequestError(
                400,
                f"the prompt has {len(tokens)} tokens; this server's maximum context length is {limit} tokens, prompt and "
                f"answer together: shorten the prompt{raise_it}",
                code="context_length_exceeded",
                param="messages",
            )
        return min(most if asked is None else asked, most, left)


def service_of(request: Request) -> Service:
    """The service that this application was made for."""
    service: Service = request.app.state.rhat
    return service
