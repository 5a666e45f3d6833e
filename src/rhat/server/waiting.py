"""Work that waits for a slot, first come, first served: of a request with many prompts, as many begin as fit."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from rhat.server.jobs import GenerationJob, ProjectionJob, Ticket

PREFILL_TOKENS = 1024  # most prompt tokens that join between two decoding steps, so that running answers go on


@dataclass(frozen=True, eq=False)
class Joining:
    """Answers of a ticket that are about to join; `first` is the number of the first one. None, where prompts are only read."""

    ticket: Ticket
    asks: tuple[GenerationJob, ...] = ()
    first: int = 0


class Waiting:
    """Tickets in the order in which they came. Whoever uses it holds the lock."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()

    def __bool__(self) -> bool:
        return bool(self._tickets)

    @property
    def size(self) -> int:
        """Answers that wait."""
        return sum(ticket.size for ticket in self._tickets)

    def add(self, ticket: Ticket) -> None:
        """A ticket more, at the end."""
        self._tickets.append(ticket)

    def drop(self, ticket: Ticket) -> None:
        """Forget a ticket, if it waits."""
        if ticket in self._tickets:
            self._tickets.remove(ticket)

    def clear(self) -> set[Ticket]:
        """Forget all; returns them."""
        left = set(self._tickets)
        self._tickets.clear()
        return left

    def take(self, free: int) -> list[Joining]:
        """What joins next, as far as slots and the budget of prompt tokens go. Whatever its length, the first fits."""
        taken: list[Joining] = []
        tokens = 0
        while self._tickets:
            ticket = self._tickets[0]
            if isinstance(ticket.work, ProjectionJob):
                if taken and tokens + ticket.n_prompt_tokens > PREFILL_TOKENS:
                    break
                tokens += ticket.n_prompt_tokens
                taken.append(Joining(ticket))
            else:
                asks: list[GenerationJob] = []
                for ask in ticket.work[ticket.joined : ticket.joined + free]:
                    # the same prompt once more (n answers to it) costs little
                    again = bool(asks) and asks[-1].request.tokens == ask.request.tokens
                    more = 0 if again else len(ask.request.tokens)
                    if (taken or asks) and tokens + more > PREFILL_TOKENS:
                        break
                    tokens += more
                    asks.append(ask)
                if not asks:
                    break
                taken.append(Joining(ticket, tuple(asks), ticket.joined))
                ticket.joined += len(asks)
                free -= len(asks)
                if ticket.size:
                    break  # its rest is first next time
            self._tickets.popleft()
        return taken
