"""Work for the engine thread: answers to write and prompts to read, and the ticket by which its events arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rhat.directions import Direction
from rhat.generation import Request
from rhat.server.events import Event
from rhat.server.options import Part


@dataclass(frozen=True, eq=False)
class GenerationJob:
    """One answer to write. `position` is the prompt position whose projection is reported, if the request has a probe."""

    request: Request
    parts: tuple[Part, ...] = ()
    position: int = -1


@dataclass(frozen=True, eq=False)
class ProjectionJob:
    """Prompts to project on a direction."""

    direction: Direction
    prompts: tuple[tuple[int, ...], ...]


@dataclass(eq=False)
class Ticket:
    """Work that was taken on: its events, and a way to call it off."""

    call_off: Callable[[Ticket], None]
    work: tuple[GenerationJob, ...] | ProjectionJob
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    cancelled: bool = False
    arrived: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Slots that it needs."""
        return 1 if isinstance(self.work, ProjectionJob) else len(self.work)

    @property
    def n_prompt_tokens(self) -> int:
        """Tokens to prefill."""
        if isinstance(self.work, ProjectionJob):
            return sum(len(p) for p in self.work.prompts)
        return sum(len(ask.request.tokens) for ask in self.work)

    def cancel(self) -> None:
        """Nobody wants it any more: its slots are free before the next step."""
        self.call_off(self)


@dataclass(frozen=True, eq=False)
class PendingJob:
    """A ticket that is about to join: what it asks for, which interventions are on, and the engine's requests."""

    ticket: Ticket
    asks: tuple[GenerationJob, ...]
    applied: list[tuple[bool, ...]]
    requests: list[Request]
