"""Work for the engine thread: answers to write and prompts to read, and the ticket by which its events arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rhat.directions import Direction
from rhat.generation import Request
from rhat.server.events import AnswerToken, Event
from rhat.server.options import Part


@dataclass(frozen=True, eq=False)
class GenerationJob:
    """One answer to write: none, only its prompt to read, where the request asks for no new tokens.

    position  the prompt position whose projection is reported, if the request has a probe
    echo      the pieces of text of the prompt's tokens, whose log-probabilities are then told; None tells none
    """

    request: Request
    parts: tuple[Part, ...] = ()
    position: int = -1
    echo: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class ProjectionJob:
    """Prompts to project on a direction."""

    direction: Direction
    prompts: tuple[tuple[int, ...], ...]


@dataclass(eq=False)
class Ticket:
    """Work that was taken on: its events, and a way to call it off. `joined` of its answers wait no more."""

    call_off: Callable[[Ticket], None]
    work: tuple[GenerationJob, ...] | ProjectionJob
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    cancelled: bool = False
    arrived: float = field(default_factory=time.monotonic)
    joined: int = 0

    @property
    def size(self) -> int:
        """Slots that it still needs."""
        return 1 if isinstance(self.work, ProjectionJob) else len(self.work) - self.joined

    @property
    def n_prompt_tokens(self) -> int:
        """Tokens of the prompts that are only read."""
        return sum(len(p) for p in self.work.prompts) if isinstance(self.work, ProjectionJob) else 0

    def cancel(self) -> None:
        """Nobody wants it any more: its slots are free before the next step."""
        self.call_off(self)


@dataclass(frozen=True, eq=False)
class PendingJob:
    """Answers of a ticket that are about to join, from number `first` on: what they ask for, which interventions are on, the
    engine's requests, and the prompts' tokens where those are told."""

    ticket: Ticket
    first: int
    asks: tuple[GenerationJob, ...]
    applied: list[tuple[bool, ...]]
    requests: list[Request]
    echoes: list[tuple[AnswerToken, ...] | None]

    @property
    def written(self) -> list[Request]:
        """The requests for which anything is written."""
        return [request for request in self.requests if request.max_new_tokens]
