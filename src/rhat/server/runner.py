"""The engine thread: the one place of a server that runs the model. Requests go in by a queue, events come out."""

from __future__ import annotations

import asyncio
import ctypes
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from rhat.directions import Direction
from rhat.generation import Engine, FinishReason, Request, Row
from rhat.guard import prompt_projections
from rhat.interventions import combine
from rhat.model import ChatModel
from rhat.model.tap import Edits
from rhat.server.asked import Part
from rhat.server.errors import Refused
from rhat.server.logs import log
from rhat.server.metrics import Metrics

PREFILL_TOKENS = 1024  # most prompt tokens that join between two decoding steps, so that running answers go on
KEPT_EDITS = 64


@dataclass(frozen=True)
class SaidToken:
    """A token of an answer: its text, and what was asked to be noted of it."""

    token: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    arriving: float | None = None  # projection as it arrives at the direction's site
    leaving: float | None = None  # and after the edits there


@dataclass(frozen=True)
class Started:
    """Answer `index` has a slot. `applied` says which interventions are on; `prompt` holds the prompt's projections."""

    index: int
    applied: tuple[bool, ...]
    prompt: tuple[float, float] | None = None


@dataclass(frozen=True)
class Said:
    """Answer `index` goes on."""

    index: int
    tokens: tuple[SaidToken, ...]


@dataclass(frozen=True)
class Done:
    """Answer `index` is complete; `rest` is text that had been held back."""

    index: int
    reason: FinishReason
    n_tokens: int
    rest: str = ""


@dataclass(frozen=True)
class Read:
    """Projections of prompts."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Failed:
    """The work could not be done."""

    error: Refused


Event = Started | Said | Done | Read | Failed


@dataclass(frozen=True, eq=False)
class Ask:
    """One answer to write. `position` is the prompt position whose projection is reported, if the request has a probe."""

    request: Request
    parts: tuple[Part, ...] = ()
    position: int = -1


@dataclass(frozen=True, eq=False)
class Reading:
    """Prompts to project on a direction."""

    direction: Direction
    prompts: tuple[tuple[int, ...], ...]


@dataclass(eq=False)
class Ticket:
    """Work that was taken on: its events, and a way to call it off."""

    runner: Runner
    work: tuple[Ask, ...] | Reading
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    cancelled: bool = False
    arrived: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Slots that it needs."""
        return 1 if isinstance(self.work, Reading) else len(self.work)

    @property
    def n_prompt_tokens(self) -> int:
        """Tokens to prefill."""
        if isinstance(self.work, Reading):
            return sum(len(p) for p in self.work.prompts)
        return sum(len(ask.request.tokens) for ask in self.work)

    def cancel(self) -> None:
        """Nobody wants it any more: its slots are free before the next step."""
        self.runner.cancel(self)


@dataclass(eq=False)
class _Live:
    """A row in the batch: whose it is, and how much of it was passed on."""

    ticket: Ticket
    index: int
    position: int
    sent: int = 0
    characters: int = 0


@dataclass(frozen=True, eq=False)
class _Entry:
    """A ticket that is about to join: what it asks for, which interventions are on, and the engine's requests."""

    ticket: Ticket
    asks: tuple[Ask, ...]
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
        self._edits: OrderedDict[tuple[Any, ...], Edits] = OrderedDict()
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
        let_go_of_workers()
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """End after the running step; what is unfinished fails."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def submit(self, work: tuple[Ask, ...] | Reading) -> Ticket:
        """Take work on; its events arrive on the calling event loop.

        Raises:
            Refused: 429 if too much is waiting, 503 if the server is stopping.
        """
        ticket = Ticket(self, work, asyncio.get_running_loop())
        with self._wake:
            if self._stopping or not self._thread.is_alive():
                raise Refused(503, "the server is stopping; try again later", code="stopping", retry_after=5)
            waiting = sum(t.size for t in self._waiting)
            free = self.slots - len(self._live)
            if waiting + ticket.size > self.max_queue + max(free, 0):
                after = max(1, min(60, math.ceil(self._seconds * (waiting + 1) / self.slots)))
                raise Refused(
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
        stopping = Refused(503, "the server is stopping; try again later", code="stopping", retry_after=5)
        with self._wake:
            left = {live.ticket for live in self._live.values()} | set(self._waiting)
            self._waiting.clear()
        self._live.clear()
        self._outbox += [(ticket, Failed(stopping)) for ticket in left]
        self._deliver()

    def _new_engine(self) -> Engine:
        return Engine(self.model, n_slots=self.slots, max_length=self.max_length)

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
            fits = isinstance(ticket.work, Reading) or ticket.size <= free
            if not fits or (taken and tokens + ticket.n_prompt_tokens > PREFILL_TOKENS):
                break
            self._waiting.popleft()
            taken.append(ticket)
            tokens += ticket.n_prompt_tokens
            if not isinstance(ticket.work, Reading):
                free -= ticket.size
        return taken

    def _join(self, engine: Engine, tickets: Sequence[Ticket]) -> None:
        """Read prompts, and let answers begin: all prompts in one pass. One request's failure is that request's alone."""
        entries: list[_Entry] = []
        for ticket in tickets:
            try:
                if isinstance(ticket.work, Reading):
                    self._read(ticket, ticket.work)
                else:
                    entries.append(self._entry(ticket, ticket.work))
            except Exception as error:
                self._fail(ticket, error)
        if entries:
            self._add(engine, entries)

    def _add(self, engine: Engine, entries: Sequence[_Entry]) -> None:
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
        log("request failed", 40, exc_info=True)
        self._outbox.append((ticket, Failed(_unexpected(error))))

    def _read(self, ticket: Ticket, work: Reading) -> None:
        values = prompt_projections(self.model, work.direction, work.prompts)
        self.metrics.tokens.labels("prompt").inc(ticket.n_prompt_tokens)
        self._outbox.append((ticket, Read(tuple(values.tolist()))))

    def _entry(self, ticket: Ticket, asks: tuple[Ask, ...]) -> _Entry:
        applied = self._gates(asks)
        requests = [
            replace(ask.request, edits=self._edits_of([p for p, on in zip(ask.parts, ons, strict=True) if on]))
            for ask, ons in zip(asks, applied, strict=True)
        ]
        return _Entry(ticket, asks, applied, requests)

    def _begin(self, entry: _Entry, rows: Sequence[Row]) -> None:
        ticket = entry.ticket
        self.metrics.tokens.labels("prompt").inc(ticket.n_prompt_tokens)
        self.metrics.first_token.observe(time.monotonic() - ticket.arrived)
        for index, (row, ask, ons) in enumerate(zip(rows, entry.asks, entry.applied, strict=True)):
            for part, on in zip(ask.parts, ons, strict=True):
                if on:
                    self.metrics.interventions.labels(part.intervention.op).inc()
            prompt = None
            if row.request.probe is not None:
                at = len(row.request.tokens) + ask.position
                prompt = (row.arriving[at], row.leaving[at])
            self._outbox.append((ticket, Started(index, ons, prompt)))
            self._live[row] = _Live(ticket, index, ask.position)
            self._pass_on(row)

    def _gates(self, asks: Sequence[Ask]) -> list[tuple[bool, ...]]:
        """For each answer, which of its interventions are on: prompts with a gate are read first, unedited."""
        read: dict[tuple[int, tuple[int, ...]], float] = {}
        for ask in asks:
            for part in ask.parts:
                if part.gate is not None:
                    key = (id(part.gate.direction), ask.request.tokens)
                    if key not in read:
                        read[key] = float(prompt_projections(self.model, part.gate.direction, [ask.request.tokens])[0])

        def on(ask: Ask, part: Part) -> bool:
            if part.gate is None:
                return True
            return bool(part.gate.opens_at([read[id(part.gate.direction), ask.request.tokens]])[0])

        return [tuple(on(ask, part) for part in ask.parts) for ask in asks]

    def _edits_of(self, parts: Sequence[Part]) -> Edits | None:
        """The edits of these interventions; the same mapping for the same ones, so that their rows are edited together."""
        if not parts:
            return None
        key = tuple(part.key for part in parts)
        if key not in self._edits:
            self._edits[key] = combine([part.intervention for part in parts]).edits(self.model)
            if len(self._edits) > KEPT_EDITS:
                self._edits.popitem(last=False)
        self._edits.move_to_end(key)
        return self._edits[key]

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
        known = len(row.text.pieces) if row.text is not None else 0
        if row.request.probe is not None:
            first = len(row.request.tokens)
            while known > live.sent and first + known - 1 not in row.arriving:
                known -= 1
        if known > live.sent:
            tokens = tuple(self._said(row, i) for i in range(live.sent, known))
            live.sent = known
            live.characters += sum(len(token.text) for token in tokens)
            self._outbox.append((live.ticket, Said(live.index, tokens)))
        if row.finish_reason is not None:
            rest = str(row.text)[live.characters :]
            self._outbox.append((live.ticket, Done(live.index, row.finish_reason, len(row.said), rest)))
            self.metrics.tokens.labels("generated").inc(len(row.said))
            self.metrics.finished.labels(row.finish_reason).inc()
            self._seconds += 0.2 * (time.monotonic() - live.ticket.arrived - self._seconds)
            del self._live[row]

    def _said(self, row: Row, index: int) -> SaidToken:
        assert row.text is not None
        noted = row.logprobs[index] if row.logprobs else None
        position = len(row.request.tokens) + index
        return SaidToken(
            row.said[index],
            row.text.pieces[index],
            None if noted is None else noted.logprob,
            () if noted is None else noted.top,
            row.arriving.get(position),
            row.leaving.get(position),
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


def let_go_of_workers() -> bool:
    """End the OpenMP workers of the calling thread, which has loaded the model and multiplies no more; whether any could be.

    GNU OpenMP lets workers sleep between products where more threads are kept than there are cores, and the engine thread
    has workers of its own: without those of the first thread a product of one row takes a tenth less.
    """
    try:
        maps = Path("/proc/self/maps").read_text()
        paths = {line.split()[-1] for line in maps.splitlines() if "libgomp" in line}  # other packages bring their own
        done = [ctypes.CDLL(path).omp_pause_resource_all(1) == 0 for path in paths]  # 1: softly, so that settings stay
        return all(done)
    except (OSError, AttributeError):
        return False


def _unexpected(error: Exception) -> Refused:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return Refused(503, "not enough memory for this request; shorten it, or try again later", retry_after=5)
    return Refused(500, f"unexpected {type(error).__name__}; the server's log says more")
