"""Answers in OpenAI's shapes: whole ones, and streams of chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from rhat.server.errors import RequestError
from rhat.server.events import AnswerToken, Done, Echoed, Event, Failed, Started, TokensEvent
from rhat.server.jobs import Ticket
from rhat.server.shape import ResponseShape

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
    echo: tuple[AnswerToken, ...] = ()
    applied: tuple[bool, ...] = ()
    prompt: tuple[float, float] | None = None
    started: bool = False
    finish_reason: str | None = None
    n_tokens: int = 0


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
                    "the answer took too long (--timeout) and was called off; ask for fewer tokens, or try again later",
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
    assert isinstance(event, Started | Echoed | TokensEvent | Done)
    choice = choices[event.index]
    match event:
        case Started(applied=applied, prompt=prompt):
            choice.started, choice.applied, choice.prompt = True, applied, prompt
        case Echoed(tokens=tokens):
            choice.echo = tokens
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
    choices = [Choice() for _ in shape.prompts]
    async for event in events(ticket, len(shape.prompts), deadline):
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
            one["text"] = shape.prompts[index].repeated + text
            one["logprobs"] = shape.text_logprobs([*choice.echo, *choice.tokens], 0)
        one["finish_reason"] = choice.finish_reason
        scale = shape.projections(choice.prompt)
        one["rhat"] = shape.rhat(index, choice.applied)
        if scale is not None:
            one["rhat"]["projections"] = {**scale, "tokens": [shape.token(t) for t in choice.tokens]}
        said.append(one)
    return {**shape.frame(False), "choices": said, "usage": shape.usage(sum(choice.n_tokens for choice in choices))}


async def response_chunks(
    ticket: Ticket, shape: ResponseShape, deadline: float, note: Callable[[list[Choice]], None]
) -> AsyncGenerator[dict[str, Any]]:
    """The answer in chunks, as it is written. A failure is the last chunk."""
    choices = [Choice() for _ in shape.prompts]
    usage = {"usage": None} if shape.include_usage else {}

    def chunk(index: int, text: str, tokens: Sequence[AnswerToken], **more: Any) -> dict[str, Any]:
        one: dict[str, Any] = {"index": index}
        if shape.chat:
            one["delta"] = {"content": text} if text or tokens else {}
            one["logprobs"] = shape.chat_logprobs(tokens) if tokens else None
        else:
            before = len(shape.prompts[index].repeated) + sum(map(len, choices[index].text)) - len(text)
            one["text"] = text
            one["logprobs"] = shape.text_logprobs(tokens, before) if tokens else None
        return {**shape.frame(True), "choices": [{**one, "finish_reason": None, **more}], **usage}

    try:
        async for event in events(ticket, len(shape.prompts), deadline):
            choice = apply_event(choices, event)
            match event:
                case Started(index=index):
                    made = chunk(index, "", [])
                    [one] = made["choices"]
                    if shape.chat:
                        one["delta"] = {"role": "assistant", "content": ""}
                    elif not shape.logprobs:  # with log-probabilities the prompt comes with them
                        one["text"] = shape.prompts[index].repeated
                    one["rhat"] = shape.rhat(index, choice.applied)
                    scale = shape.projections(choice.prompt)
                    if scale is not None:
                        one["rhat"]["projections"] = scale
                    yield made
                case Echoed(index=index, tokens=tokens):
                    made = chunk(index, shape.prompts[index].repeated, [])
                    made["choices"][0]["logprobs"] = shape.text_logprobs(tokens, 0)
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
            yield {**shape.frame(True), "choices": [], "usage": shape.usage(sum(choice.n_tokens for choice in choices))}
    except RequestError as rejected:
        yield rejected.body()
    finally:
        note(choices)
