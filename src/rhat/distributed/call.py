"""One `map` over workers: which shard is where, and what happens when a worker dies."""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, Protocol

from rhat.errors import StudyError
from rhat.executor import Task

log = logging.getLogger(__name__)

DEATHS = 3  # so often may workers die over one shard, or one worker while it loads, before we give up
PATIENCE = 60.0  # seconds without news after which the log says so


@dataclass(eq=False)
class Seat:
    """A place for a worker.

    loading  the load of its model that is under way
    pid      its process, once the model is loaded
    """

    actor: Any = None
    loading: Any = None
    pid: int | None = None
    deaths: int = 0


class Workers(Protocol):
    """What a call needs of its executor: the places for workers, and how one is filled and emptied."""

    ray: Any
    seats: list[Seat]
    cpus: int
    gpus: float
    replaced: int

    def fill(self, seat: Seat) -> None:
        """Put a new worker into a seat."""

    def empty(self, seat: Seat) -> None:
        """End a seat's worker."""


class Call:
    """One `map`: which shard is where."""

    def __init__(self, executor: Workers, task: Task, number: int, common: Any, shards: list[bytes]) -> None:
        self.executor, self.task, self.number, self.common, self.shards = executor, task, number, common, shards
        self.results: list[bytes] = [b""] * len(shards)
        n = len(executor.seats)
        self.own = [deque(range(i, len(shards), n)) for i in range(n)]  # what each seat has to do
        self.again: deque[int] = deque()  # what a worker died over
        self.busy: dict[Any, tuple[int, int | None]] = {}  # reference → (seat, its shard; None: it is loading)
        self.deaths: Counter[int] = Counter()

    def run(self) -> Any:
        """Work until everything is done; yields each shard's number as it is done."""
        ray = self.executor.ray
        try:
            for at, seat in enumerate(self.executor.seats):
                if seat.actor is None and self.own[at]:
                    self.executor.fill(seat)
            for at in range(len(self.own)):
                self._give(at)
            left = len(self.shards)
            while left:
                ready, _ = ray.wait(list(self.busy), num_returns=1, timeout=PATIENCE)
                if not ready:
                    self._tell(left)
                for reference in ready:
                    done = self._take(reference)
                    if done is not None:
                        left -= 1
                        yield done
                self._occupy()
        except BaseException:
            for at, _ in self.busy.values():  # what they are at is of no use to anybody
                self.executor.empty(self.executor.seats[at])
            raise

    def _tell(self, left: int) -> None:
        """What a long silence means: slow shards, or a cluster on which no worker has found a place."""
        if any(seat.pid is not None for seat in self.executor.seats):
            log.info("ray: still waiting for %d shards, %d workers at it", left, len(self.busy))
        else:
            free = self.executor.ray.available_resources()
            log.warning(
                "ray: no worker has started: each needs %d cores and %g GPUs, the cluster has %g and %g free; wait, free "
                "some, or stop and ask for less",
                self.executor.cpus,
                self.executor.gpus,
                free.get("CPU", 0),
                free.get("GPU", 0),
            )

    def _occupy(self) -> None:
        at_work = {at for at, _ in self.busy.values()}
        for at in range(len(self.own)):
            if at not in at_work:
                self._give(at)

    def _next(self, at: int) -> int | None:
        if self.again:
            return self.again.popleft()
        if self.own[at]:
            return self.own[at].popleft()
        richest = max(self.own, key=len)
        return richest.pop() if richest else None

    def _give(self, at: int) -> None:
        """The next shard to a seat that is idle, if its worker is there."""
        seat = self.executor.seats[at]
        if seat.actor is None:
            return
        if seat.pid is None:
            self.busy[seat.loading] = (at, None)
            return
        shard = self._next(at)
        if shard is not None:
            self.busy[seat.actor.run.remote(self.task, self.number, self.common, self.shards[shard])] = (at, shard)

    def _take(self, reference: Any) -> int | None:
        """What a worker has done: the shard's number, or None if it was not a shard or its worker died."""
        ray = self.executor.ray
        at, shard = self.busy.pop(reference)
        seat = self.executor.seats[at]
        try:
            value = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise getattr(error, "cause", None) or error from None
        except ray.exceptions.RayError as error:
            self._replace(seat, shard, error)
            return None
        if shard is None:
            seat.pid, seat.deaths = value, 0
            return None
        self.results[shard] = value
        return shard

    def _replace(self, seat: Seat, shard: int | None, error: Exception) -> None:
        """A new worker for one that died; its shard is done again, by whoever is free first."""
        self.executor.empty(seat)
        if shard is None:
            seat.deaths += 1
        else:
            self.deaths[shard] += 1
            self.again.append(shard)
        if (seat.deaths if shard is None else self.deaths[shard]) >= DEATHS:
            reason = " ".join(str(error).split())[:200]
            what = "while loading the model" if shard is None else f"over shard {shard + 1} of {len(self.shards)}"
            raise StudyError(
                f"executor ray: workers died {DEATHS} times {what} ({reason}); give them more memory, or fewer workers"
            )
        log.warning("ray: a worker died (%s) and is replaced", type(error).__name__)
        self.executor.fill(seat)
        self.executor.replaced += 1
