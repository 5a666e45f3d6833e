"""Answers in OpenAI's shapes: whole ones, and streams of chunks."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from rhat.directions import Direction
from rhat.server.errors import RequestError
from rhat.server.events import AnswerToken, Done, Event, Failed, Started, TokensEvent
from rhat.server.jobs import Ticket
from rhat.server.options import ResolvedOptions

FINISH = {
    "stop": "stop",
    "length": "length",
    "until": "stop",
    "cancelled": "stop",
}  # one that failed is answered with an error


@dataclass(eq=False)
class Choice:
    """One answer, as far as it is known."""

    text: list[str] = field(default_factory=list)
    tokens: list[AnswerToken] = field(default_factory=list)
    applied: tuple[bool, ...] = ()
    prompt: tuple[float, float] | None = None
    started: bool = False
    finish_reason: str | None = None
    n_tokens: int = 0


@dataclass(frozen=True, eq=False)
class ResponseShape:
    """How one request is answered.

    chat           chat completion, or plain completion
    n_prompt       prompt tokens of all its answers' prompts
    asked          its interventions, and the direction it wants projections on
    direction      that direction
    token_text     token id → its text, special tokens shown
    """

    chat: bool
    model: str
    n_prompt: int
    n_choices: int
    asked: ResolvedOptions
    direction: Direction | None
    token_text: Callable[[int], str]
    logprobs: bool
    seed: int | None
    include_usage: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:24])
    created: int = field(default_factory=lambda: int(time.time()))

    def frame(self, chunk: bool) -> dict[str, Any]:
        """What every answer and every chunk begins with."""
        kind = "chat.completion" if self.chat else "text_completion"
        return {
            "id": ("chatcmpl-" if self.chat else "cmpl-") + self.id,
            "object": f"{kind}.chunk" if chunk and self.chat else kind,
            "created": self.created,
            "model": self.model,
        }

    def usage(self, choices: list[Choice]) -> dict[str, int]:
        """Token counts."""
        said = sum(choice.n_tokens for choice in choices)
        return {"prompt_tokens": self.n_prompt, "completion_tokens": said, "total_tokens": self.n_prompt + said}

    def rhat(self, applied: tuple[bool, ...]) -> dict[str, Any]:
        """What was done to an answer."""
        parts = [{**part.describe(), "applied": on} for part, on in zip(self.asked.parts, applied, strict=True)]
        said: dict[str, Any] = {"interventions": parts}
        if self.seed is not None:
            said["seed"] = self.seed
        return said

    def projections(self, prompt: tuple[float, float] | None) -> dict[str, Any] | None:
        """On what tokens are projected, with the scale to read it by, and the prompt's projection."""
        if self.direction is None or prompt is None:
            return None
        r = self.direction
        return {
            "direction": self.asked.projected,
            "site": str(r.site),
            "position": r.position,
            "mean_harmful": r.mean_harmful,
            "mean_harmless": r.mean_harmless,
            "prompt": finite(prompt[0]),
        }

    def token(self, token: AnswerToken) -> dict[str, Any]:
        """A token with its projection, and what the edits at that site made of it."""
        return {
            "token": token.text,
            "id": token.token,
            "projection": finite(token.arriving),
            "edited_projection": finite(token.leaving),
        }

    def chat_logprobs(self, tokens: list[AnswerToken]) -> dict[str, Any] | None:
        """Chat completions' logprobs."""
        if not self.logprobs:
            return None

        def one(token: int, logprob: float | None) -> dict[str, Any]:
            text = self.token_text(token)
            known = "\N{REPLACEMENT CHARACTER}" not in text
            return {"token": text, "logprob": low(logprob), "bytes": list(text.encode()) if known else None}

        content = [
            {**one(t.token, t.logprob), "top_logprobs": [one(token, value) for token, value in t.top]} for t in tokens
        ]
        return {"content": content, "refusal": None}

    def text_logprobs(self, tokens: list[AnswerToken], offset: int) -> dict[str, Any] | None:
        """Plain completions' logprobs; `offset` characters come before these tokens."""
        if not self.logprobs:
            return None
        offsets: list[int] = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text)
        return {
            "tokens": [self.token_text(t.token) for t in tokens],
            "token_logprobs": [low(t.logprob) for t in tokens],
            "top_logprobs": [{self.token_text(token): low(value) for token, value in t.top} for t in tokens],
            "text_offset": offsets,
        }


def finite(value: float | None) -> float | None:
    """The value, or None where it is not a finite number (JSON has no others)."""
    return value if value is not None and math.isfinite(value) else None


def low(logprob: float | None) -> float:
    """A log-probability as JSON can carry it: OpenAI's −9999 stands for impossible."""
    return logprob if logprob is not None and math.isfinite(logprob) else -9999.0


async def events(ticket: Ticket, n_choices: int, deadline: float) -> AsyncIterator[Event]:
    """A ticket's events until all its answers are complete; leaving early calls the ticket off.

    Raises:
        RequestError: if the work failed, or was not done in time.
    """
    left = n_choices
    try:
        while left:
            try:
                with anyio.fail_after(max(0.0, deadline - time.monotonic())):
                    event = await ticket.events.get()
            except TimeoutError as error:
                raise RequestError(
                    504,
                    "the answer took too long and was called off; ask for fewer tokens, or try again later",
                    code="timeout",
                ) from error
            if isinstance(event, Failed):
                raise event.error
            left -= isinstance(event, Done)
            yield event
    finally:
        if left:
            ticket.cancel()


def apply_event(choices: list[Choice], event: Event) -> Choice:
    """Add an event to what is known; returns the choice it belongs to."""
    assert isinstance(event, Started | TokensEvent | Done)
    choice = choices[event.index]
    match event:
        case Started(applied=applied, prompt=prompt):
            choice.started, choice.applied, choice.prompt = True, applied, prompt
        case TokensEvent(tokens=tokens):
            choice.tokens += tokens
            choice.text += [token.text for token in tokens]
        case Done(reason=reason, n_tokens=n_tokens, rest=rest):
            choice.finish_reason, choice.n_tokens = FINISH[reason], n_tokens
            choice.text.append(rest)
    return choice


async def full_response(
    ticket: Ticket, shape: ResponseShape, deadline: float, note: Callable[[list[Choice]], None]
) -> dict[str, Any]:
    """The complete answer."""
    choices = [Choice() for _ in range(shape.n_choices)]
    async for event in events(ticket, shape.n_choices, deadline):
        apply_event(choices, event)
    note(choices)
    said: list[dict[str, Any]] = []
    for index, choice in enumerate(choices):
        text = "".join(choice.text)
        one: dict[str, Any] = {"index": index}
        if shape.chat:
            one["message"] = {"role": "assistant", "content": text, "refusal": None}
            one["logprobs"] = shape.chat_logprobs(choice.tokens)
        else:
            one["text"] = text
            one["logprobs"] = shape.text_logprobs(choice.tokens, 0)
        one["finish_reason"] = choice.finish_reason
        scale = shape.projections(choice.prompt)
        one["rhat"] = shape.rhat(choice.applied)
        if scale is not None:
            one["rhat"]["projections"] = {**scale, "tokens": [shape.token(t) for t in choice.tokens]}
        said.append(one)
    return {**shape.frame(False), "choices": said, "usage": shape.usage(choices)}


async def response_chunks(
    ticket: Ticket, shape: ResponseShape, deadline: float, note: Callable[[list[Choice]], None]
) -> AsyncGenerator[dict[str, Any]]:
    """The answer in chunks, as it is written. A failure is the last chunk."""
    choices = [Choice() for _ in range(shape.n_choices)]
    usage = {"usage": None} if shape.include_usage else {}

    def chunk(index: int, text: str, tokens: list[AnswerToken], **more: Any) -> dict[str, Any]:
        one: dict[str, Any] = {"index": index}
        if shape.chat:
            one["delta"] = {"content": text} if text or tokens else {}
            one["logprobs"] = shape.chat_logprobs(tokens) if tokens else None
        else:
            before = sum(map(len, choices[index].text)) - len(text)
            one["text"] = text
            one["logprobs"] = shape.text_logprobs(tokens, before) if tokens else None
        return {**shape.frame(True), "choices": [{**one, "finish_reason": None, **more}], **usage}

    try:
        async for event in events(ticket, shape.n_choices, deadline):
            choice = apply_event(choices, event)
            match event:
                case Started(index=index):
                    made = chunk(index, "", [])
                    [one] = made["choices"]
                    if shape.chat:
                        one["delta"] = {"role": "assistant", "content": ""}
                    one["rhat"] = shape.rhat(choice.applied)
                    scale = shape.projections(choice.prompt)
                    if scale is not None:
                        one["rhat"]["projections"] = scale
                    yield made
                case TokensEvent(index=index, tokens=tokens):
                    made = chunk(index, "".join(t.text for t in tokens), list(tokens))
                    if shape.direction is not None:
                        made["choices"][0]["rhat"] = {"tokens": [shape.token(t) for t in tokens]}
                    yield made
                case Done(index=index, rest=rest):
                    if rest:
                        yield chunk(index, rest, [])
                    yield chunk(index, "", [], finish_reason=choice.finish_reason)
        if shape.include_usage:
            yield {**shape.frame(True), "choices": [], "usage": shape.usage(choices)}
    except RequestError as rejected:
        yield rejected.body()
    finally:
        note(choices)
