"""The outbox of the engine thread: events on their way to the event loops of those who asked."""

from __future__ import annotations

import asyncio

import torch

from rhat.errors import NonFiniteError
from rhat.generation import Row
from rhat.server.errors import RequestError
from rhat.server.events import AnswerToken, Event
from rhat.server.jobs import Ticket


class Outbox:
    """Events that are not handed over yet. Only the engine thread uses it."""

    def __init__(self) -> None:
        self._events: list[tuple[Ticket, Event]] = []

    def put(self, *events: tuple[Ticket, Event]) -> None:
        """Add events, each with the ticket that it belongs to."""
        self._events += events

    def deliver(self) -> None:
        """Hand all new events over, one call per event loop."""
        outbox, self._events = self._events, []
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Event]]] = {}
        for ticket, event in outbox:
            by_loop.setdefault(ticket.loop, []).append((ticket, event))
        for loop, events in by_loop.items():
            try:
                loop.call_soon_threadsafe(_put, events)
            except RuntimeError:  # that loop is closed: nobody is there to read
                continue


def _put(events: list[tuple[Ticket, Event]]) -> None:
    for ticket, event in events:
        ticket.events.put_nowait(event)


def answer_token(row: Row, index: int) -> AnswerToken:
    """What is told of a row's token number `index`."""
    assert row.text is not None
    noted = row.logprobs[index] if row.logprobs else None
    position = len(row.request.tokens) + index
    return AnswerToken(
        row.generated[index],
        row.text.pieces[index],
        None if noted is None else noted.logprob,
        () if noted is None else noted.top,
        row.projection_before.get(position),
        row.projection_after.get(position),
    )


def unexpected(error: Exception) -> RequestError:
    """What a client is told of an error that is not its own."""
    if isinstance(error, NonFiniteError):  # 422, for the same request would fail again, and clients try a 500 again
        return RequestError(422, str(error), code="not_finite")
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return RequestError(503, "not enough memory for this request; shorten it, or try again later", retry_after=5)
    return RequestError(500, f"unexpected {type(error).__name__}; the server's log says more")
