"""The engine thread: the one place of a server that runs the model. Requests go in by a queue, events come out."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from rhat.errors import NonFiniteError
from rhat.generation import Engine, Request, Row
from rhat.guard import prompt_projections
from rhat.model import ChatModel
from rhat.model.openmp import release_openmp_workers
from rhat.server.errors import RequestError
from rhat.server.events import AnswerToken, Done, Event, Failed, Projected, Started, TokensEvent
from rhat.server.gating import Interventions
from rhat.server.jobs import GenerationJob, ProjectionJob, Ticket
from rhat.server.logs import log
from rhat.server.metrics import Metrics

PREFILL_TOKENS = 1024  # most prompt tokens that join between two decoding steps, so that running answers go on


@dataclass(eq=False)
class _Live:
    """A row in the batch: whose it is, and how much of it was passed on."""

    ticket: Ticket
    index: int
    position: int
    sent: int = 0
    characters: int = 0


@dataclass(frozen=True, eq=False)
class PendingJob:
    """A ticket that is about to join: what it asks for, which interventions are on, and the engine's requests."""

    ticket: Ticket
    asks: tuple[GenerationJob, ...]
    applied: list[tuple[bool, ...]]
    requests: list[Request]


class Runner:
    """One thread that owns the model. `submit` and `cancel` may be called from any thread."""

    def __init__(self, model: ChatModel, *, slots: int, max_length: int, max_queue: int, metrics: Metrics) -> None:
        self.model = model
        self.slots = slots
        self.max_queue = max_queue
        self.max_length = max_length
        self.metrics = metrics
        self._wake = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._cancelled: list[Ticket] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="rhat-engine", daemon=True)
        self._live: dict[Row, _Live] = {}
        self._interventions = Interventions(model)
        self._seconds = 1.0  # of a typical answer, for Retry-After
        self._outbox: list[tuple[Ticket, Event]] = []
        metrics.watch(lambda: self.active, lambda: self.waiting)

    # For any thread

    @property
    def active(self) -> int:
        """Answers being written."""
        return len(self._live)

    @property
    def waiting(self) -> int:
        """Answers that wait for a slot."""
        with self._wake:
            return sum(ticket.size for ticket in self._waiting)

    @property
    def alive(self) -> bool:
        """Whether the thread is at work."""
        return self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Begin."""
        release_openmp_workers()
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """End after the running step; what is unfinished fails."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def submit(self, work: tuple[GenerationJob, ...] | ProjectionJob) -> Ticket:
        """Take work on; its events arrive on the calling event loop.

        Raises:
            RequestError: 429 if too much is waiting, 503 if the server is stopping.
        """
        ticket = Ticket(self.cancel, work, asyncio.get_running_loop())
        with self._wake:
            if self._stopping or not self._thread.is_alive():
                raise RequestError(503, "the server is stopping; try again later", code="stopping", retry_after=5)
            waiting = sum(t.size for t in self._waiting)
            free = self.slots - len(self._live)
            if waiting + ticket.size > self.max_queue + max(free, 0):
                after = max(1, min(60, math.ceil(self._seconds * (waiting + 1) / self.slots)))
                raise RequestError(
                    429,
                    f"the queue is full: {waiting} answers are waiting; try again in {after} s",
                    code="rate_limit_exceeded",
                    retry_after=after,
                )
            self._waiting.append(ticket)
            self._wake.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Call work off; a ticket that is done is left alone."""
        with self._wake:
            if not ticket.cancelled:
                ticket.cancelled = True
                self._cancelled.append(ticket)
                self._wake.notify()

    # The engine thread

    def _run(self) -> None:
        engine = self._new_engine()
        while True:
            with self._wake:
                while not (self._waiting or self._live or self._cancelled or self._stopping):
                    self._wake.wait()
                if self._stopping:
                    break
                self._drop_cancelled(engine)
                joining = self._joining(engine.free)
            self._join(engine, joining)
            try:
                self._step(engine)
            except Exception as error:
                log("step failed", 40, exc_info=True)
                self._fail_all(error)
                engine = self._new_engine()
            self._deliver()
        stopping = RequestError(503, "the server is stopping; try again later", code="stopping", retry_after=5)
        with self._wake:
            left = {live.ticket for live in self._live.values()} | set(self._waiting)
            self._waiting.clear()
        self._live.clear()
        self._outbox += [(ticket, Failed(stopping)) for ticket in left]
        self._deliver()

    def _new_engine(self) -> Engine:
        return Engine(self.model, n_slots=self.slots, max_length=self.max_length, isolate=True)

    def _drop_cancelled(self, engine: Engine) -> None:
        for ticket in self._cancelled:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            for row in [row for row, live in self._live.items() if live.ticket is ticket]:
                engine.cancel(row)
                del self._live[row]
                self.metrics.finished.labels("cancelled").inc()
        self._cancelled.clear()

    def _joining(self, free: int) -> list[Ticket]:
        """Waiting work, first come first served, as far as slots and the budget of prompt tokens go."""
        taken: list[Ticket] = []
        tokens = 0
        while self._waiting:
            ticket = self._waiting[0]
            fits = isinstance(ticket.work, ProjectionJob) or ticket.size <= free
            if not fits or (taken and tokens + ticket.n_prompt_tokens > PREFILL_TOKENS):
                break
            self._waiting.popleft()
            taken.append(ticket)
            tokens += ticket.n_prompt_tokens
            if not isinstance(ticket.work, ProjectionJob):
                free -= ticket.size
        return taken

    def _join(self, engine: Engine, tickets: Sequence[Ticket]) -> None:
        """Read prompts, and let answers begin: all prompts in one pass. One request's failure is that request's alone."""
        entries: list[PendingJob] = []
        for ticket in tickets:
            try:
                if isinstance(ticket.work, ProjectionJob):
                    self._read(ticket, ticket.work)
                else:
                    entries.append(self._pending_job(ticket, ticket.work))
            except Exception as error:
                self._fail(ticket, error)
        if entries:
            self._add(engine, entries)

    def _add(self, engine: Engine, entries: Sequence[PendingJob]) -> None:
        try:
            rows = engine.add([request for entry in entries for request in entry.requests])
        except Exception as error:
            if len(entries) == 1:
                self._fail(entries[0].ticket, error)
                return
            for entry in entries:  # whose fault it is shows when each is tried alone
                self._add(engine, [entry])
            return
        for entry in entries:
            self._begin(entry, rows[: len(entry.requests)])
            del rows[: len(entry.requests)]

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        log("request failed", 40, exc_info=error)
        self._outbox.append((ticket, Failed(_unexpected(error))))

    def _fail_answer(self, ticket: Ticket, error: NonFiniteError) -> None:
        self._fail(ticket, error)
        self.metrics.finished.labels("failed").inc()

    def _read(self, ticket: Ticket, work: ProjectionJob) -> None:
        values = prompt_projections(self.model, work.direction, work.prompts)
        self.metrics.tokens.labels("prompt").inc(ticket.n_prompt_tokens)
        self._outbox.append((ticket, Projected(tuple(values.tolist()))))

    def _pending_job(self, ticket: Ticket, asks: tuple[GenerationJob, ...]) -> PendingJob:
        applied = self._interventions.applied(asks)
        requests = [
            replace(
                ask.request, edits=self._interventions.edits([p for p, on in zip(ask.parts, ons, strict=True) if on])
            )
            for ask, ons in zip(asks, applied, strict=True)
        ]
        return PendingJob(ticket, asks, applied, requests)

    def _begin(self, entry: PendingJob, rows: Sequence[Row]) -> None:
        ticket = entry.ticket
        self.metrics.tokens.labels("prompt").inc(ticket.n_prompt_tokens)
        self.metrics.first_token.observe(time.monotonic() - ticket.arrived)
        for index, (row, ask, ons) in enumerate(zip(rows, entry.asks, entry.applied, strict=True)):
            for part, on in zip(ask.parts, ons, strict=True):
                if on:
                    self.metrics.interventions.labels(part.intervention.op).inc()
            if row.error is not None:
                self._fail_answer(ticket, row.error)
                continue
            prompt = None
            if row.request.probe is not None:
                at = len(row.request.tokens) + ask.position
                prompt = (row.projection_before[at], row.projection_after[at])
            self._outbox.append((ticket, Started(index, ons, prompt)))
            self._live[row] = _Live(ticket, index, ask.position)
            self._pass_on(row)

    def _step(self, engine: Engine) -> None:
        self._deliver()  # first tokens need not wait for the step
        if not engine.rows:
            return
        began = time.monotonic()
        finished = engine.step()
        self.metrics.step_seconds.observe(time.monotonic() - began)
        for row in [*engine.rows, *finished]:
            self._pass_on(row)

    def _pass_on(self, row: Row) -> None:
        """Send what is new of a row: tokens whose projections are known, if those were asked for, and its end."""
        live = self._live.get(row)
        if live is None:
            return
        if row.error is not None:
            self._fail_answer(live.ticket, row.error)
            del self._live[row]
            return
        known = len(row.text.pieces) if row.text is not None else 0
        if row.request.probe is not None:
            first = len(row.request.tokens)
            while known > live.sent and first + known - 1 not in row.projection_before:
                known -= 1
        if known > live.sent:
            tokens = tuple(self._said(row, i) for i in range(live.sent, known))
            live.sent = known
            live.characters += sum(len(token.text) for token in tokens)
            self._outbox.append((live.ticket, TokensEvent(live.index, tokens)))
        if row.finish_reason is not None:
            rest = str(row.text)[live.characters :]
            self._outbox.append((live.ticket, Done(live.index, row.finish_reason, len(row.generated), rest)))
            self.metrics.tokens.labels("generated").inc(len(row.generated))
            self.metrics.finished.labels(row.finish_reason).inc()
            self._seconds += 0.2 * (time.monotonic() - live.ticket.arrived - self._seconds)
            del self._live[row]

    def _said(self, row: Row, index: int) -> AnswerToken:
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

    def _fail_all(self, error: Exception) -> None:
        failure = Failed(_unexpected(error))
        self._outbox += [(ticket, failure) for ticket in {live.ticket for live in self._live.values()}]
        self._live.clear()

    def _deliver(self) -> None:
        """Hand all new events over, one call per event loop."""
        outbox, self._outbox = self._outbox, []
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


def _unexpected(error: Exception) -> RequestError:
    if isinstance(error, NonFiniteError):  # 422, for the same request would fail again, and clients try a 500 again
        return RequestError(422, str(error), code="not_finite")
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return RequestError(503, "not enough memory for this request; shorten it, or try again later", retry_after=5)
    return RequestError(500, f"unexpected {type(error).__name__}; the server's log says more")
