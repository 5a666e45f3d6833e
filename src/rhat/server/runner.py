"""The engine thread: the one place of a server that runs the model. Requests go in by a queue, events come out."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rhat.errors import NonFiniteError
from rhat.generation import Engine, Row
from rhat.guard import prompt_projections
from rhat.model import ChatModel
from rhat.model.openmp import release_openmp_workers
from rhat.server.errors import RequestError
from rhat.server.events import Done, Echoed, Failed, Projected, Started, TokensEvent
from rhat.server.gating import Interventions
from rhat.server.jobs import GenerationJob, PendingJob, ProjectionJob, Ticket
from rhat.server.logs import log
from rhat.server.metrics import Metrics
from rhat.server.outbox import Outbox, answer_token, unexpected
from rhat.server.waiting import Joining, Waiting


@dataclass(eq=False)
class _Live:
    """A row in the batch: whose it is, and how much of it was passed on."""

    ticket: Ticket
    index: int
    position: int
    sent: int = 0
    characters: int = 0


class Runner:
    """One thread that owns the model. `submit` and `cancel` may be called from any thread."""

    def __init__(self, model: ChatModel, *, slots: int, max_length: int, max_queue: int, metrics: Metrics) -> None:
        self.model = model
        self.slots = slots
        self.max_queue = max_queue
        self.max_length = max_length
        self.metrics = metrics
        self._wake = threading.Condition()
        self._waiting = Waiting()
        self._cancelled: list[Ticket] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="rhat-engine", daemon=True)
        self._live: dict[Row, _Live] = {}
        self._interventions = Interventions(model)
        self._seconds = 1.0  # of a typical answer, for Retry-After
        self._outbox = Outbox()
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
            return self._waiting.size

    @property
    def most(self) -> int:
        """Answers that one request may ask for: as many as are written and wait at once."""
        return self.slots + self.max_queue

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
            waiting = self._waiting.size
            free = self.slots - len(self._live)
            if waiting + ticket.size > self.max_queue + max(free, 0):
                after = max(1, min(60, math.ceil(self._seconds * (waiting + 1) / self.slots)))
                raise RequestError(
                    429,
                    f"the queue is full: {waiting} answers are waiting (--max-queue); try again in {after} s",
                    code="rate_limit_exceeded",
                    retry_after=after,
                )
            self._waiting.add(ticket)
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
                joining = self._waiting.take(engine.free)
            self._join(engine, joining)
            try:
                self._step(engine)
            except Exception as error:
                log("step failed", 40, exc_info=True)
                self._fail_all(error)
                engine = self._new_engine()
            self._outbox.deliver()
        stopping = RequestError(503, "the server is stopping; try again later", code="stopping", retry_after=5)
        with self._wake:
            left = {live.ticket for live in self._live.values()} | self._waiting.clear()
        self._live.clear()
        self._outbox.put(*((ticket, Failed(stopping)) for ticket in left))
        self._outbox.deliver()

    def _new_engine(self) -> Engine:
        return Engine(self.model, n_slots=self.slots, max_length=self.max_length, isolate=True)

    def _drop_cancelled(self, engine: Engine) -> None:
        for ticket in self._cancelled:
            self._waiting.drop(ticket)
            for row in [row for row, live in self._live.items() if live.ticket is ticket]:
                engine.cancel(row)
                del self._live[row]
                self.metrics.finished.labels("cancelled").inc()
        self._cancelled.clear()

    def _join(self, engine: Engine, joining: Sequence[Joining]) -> None:
        """Read prompts, and let answers begin: all prompts in one pass. One request's failure is that request's alone."""
        entries: list[PendingJob] = []
        for some in joining:
            ticket = some.ticket
            try:
                if isinstance(ticket.work, ProjectionJob):
                    self._read(ticket, ticket.work)
                else:
                    entries.append(self._interventions.pending(some))
            except Exception as error:
                self._fail(ticket, error)
        if entries:
            self._add(engine, entries)

    def _add(self, engine: Engine, entries: Sequence[PendingJob]) -> None:
        try:
            rows = engine.add([request for entry in entries for request in entry.written])
        except Exception as error:
            if len(entries) == 1:
                self._fail(entries[0].ticket, error)
                return
            for entry in entries:  # whose fault it is shows when each is tried alone
                self._add(engine, [entry])
            return
        for entry in entries:
            self._begin(entry, rows[: len(entry.written)])
            del rows[: len(entry.written)]

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        log("request failed", 40, exc_info=error)
        self._outbox.put((ticket, Failed(unexpected(error))))

    def _fail_answer(self, ticket: Ticket, error: NonFiniteError) -> None:
        self._fail(ticket, error)
        self.metrics.finished.labels("failed").inc()

    def _read(self, ticket: Ticket, work: ProjectionJob) -> None:
        values = prompt_projections(self.model, work.direction, work.prompts)
        self.metrics.tokens.labels("prompt").inc(ticket.n_prompt_tokens)
        self._outbox.put((ticket, Projected(tuple(values.tolist()))))

    def _begin(self, entry: PendingJob, rows: Sequence[Row]) -> None:
        ticket, made = entry.ticket, iter(rows)
        self.metrics.tokens.labels("prompt").inc(sum(len(request.tokens) for request in entry.requests))
        self.metrics.first_token.observe(time.monotonic() - ticket.arrived)
        several = zip(entry.requests, entry.asks, entry.applied, entry.echoes, strict=True)
        for index, (request, ask, ons, echo) in enumerate(several, entry.first):
            for part, on in zip(ask.parts, ons, strict=True):
                if on:
                    self.metrics.interventions.labels(part.intervention.op).inc()
            row = next(made) if request.max_new_tokens else None
            if row is not None and row.error is not None:
                self._fail_answer(ticket, row.error)
                continue
            prompt = None
            if row is not None and request.probe is not None:
                at = len(request.tokens) + ask.position
                prompt = (row.projection_before[at], row.projection_after[at])
            self._outbox.put((ticket, Started(index, ons, prompt)))
            if echo is not None:
                self._outbox.put((ticket, Echoed(index, echo)))
            if row is None:
                self._outbox.put((ticket, Done(index, "length", 0)))
                self.metrics.finished.labels("length").inc()
                continue
            self._live[row] = _Live(ticket, index, ask.position)
            self._pass_on(row)

    def _step(self, engine: Engine) -> None:
        self._outbox.deliver()  # first tokens need not wait for the step
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
            tokens = tuple(answer_token(row, i) for i in range(live.sent, known))
            live.sent = known
            live.characters += sum(len(token.text) for token in tokens)
            self._outbox.put((live.ticket, TokensEvent(live.index, tokens)))
        if row.finish_reason is not None:
            rest = str(row.text)[live.characters :]
            self._outbox.put((live.ticket, Done(live.index, row.finish_reason, len(row.generated), rest)))
            self.metrics.tokens.labels("generated").inc(len(row.generated))
            self.metrics.finished.labels(row.finish_reason).inc()
            self._seconds += 0.2 * (time.monotonic() - live.ticket.arrived - self._seconds)
            del self._live[row]

    def _fail_all(self, error: Exception) -> None:
        failure = Failed(unexpected(error))
        self._outbox.put(*((ticket, failure) for ticket in {live.ticket for live in self._live.values()}))
        self._live.clear()
