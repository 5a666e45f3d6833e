"""RayExecutor: tasks over shards on a Ray cluster. A worker that dies is replaced, and its shard done again."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rhat.distributed.actor import Actor
from rhat.distributed.cluster import connect
from rhat.distributed.packing import pack, unpack
from rhat.errors import StudyError
from rhat.executor import Each, Progress, Task

log = logging.getLogger(__name__)

MOST_SHARDS = 256  # of one call: a shard is one batch where there are fewer
DEATHS = 3  # so often may workers die over one shard, or one worker while it loads, before we give up
PATIENCE = 60.0  # seconds without news after which the log says so


@dataclass(eq=False)
class _Seat:
    """A place for a worker.

    loading  the load of its model that is under way
    pid      its process, once the model is loaded
    """

    actor: Any = None
    loading: Any = None
    pid: int | None = None
    deaths: int = 0


class RayExecutor:
    """Runs tasks on workers that each load the model once, as `rhat.load(**arguments)` does.

        with RayExecutor({"name": "org/model"}, address="ray://head:10001") as executor:
            finding = rhat.find(model, prompts, executor=executor)

    address  a cluster's ("ray://host:10001", "host:6379"); None: the one of RAY_ADDRESS, else a local one is started
    workers  how many; None: one for each GPU, or for every `cpus` cores where there is none
    cpus     cores of one worker
    gpus     GPUs of one worker; None: 1 where the cluster has any

    Batches are shared out one a shard (several where there are more than 256), so that every prompt is run in the batch
    in which it would be run alone, and sums are added up in the same order: results do not depend on the workers.

    Raises:
        StudyError: if ray is not installed, the cluster cannot be reached, or has no room for one worker.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        address: str | None = None,
        *,
        workers: int | None = None,
        cpus: int = 4,
        gpus: float | None = None,
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise StudyError("executor ray: ray is not installed; install it with pip install 'rhat[ray]'") from error
        self._ray = ray
        self.arguments = dict(arguments)
        self.replaced = 0  # workers that died and were replaced
        self._calls = 0
        self._seats: list[_Seat] = []
        self._model: Any = None
        self._started = not ray.is_initialized()
        if self._started:
            connect(ray, address, workers)
        try:
            self._measure(workers, cpus, gpus)
        except BaseException:
            self.close()
            raise

    def _measure(self, workers: int | None, cpus: int, gpus: float | None) -> None:
        """How many workers, of what, the cluster has room for."""
        if workers is not None and workers < 1:
            raise StudyError(f"executor ray: got {workers} workers, expected 1 or more")
        has = self._ray.cluster_resources()
        cores, cards = max(1, int(has.get("CPU", 1))), has.get("GPU", 0.0)
        self.gpus = (1.0 if cards else 0.0) if gpus is None else gpus
        self.cpus = max(1, min(cpus, cores // (workers or 1)))
        room = int(cards // self.gpus) if self.gpus else cores // self.cpus
        if not room:
            raise StudyError(
                f"executor ray: a worker needs {self.gpus:g} GPUs, the cluster has {cards:g}; ask for fewer"
            )
        self._seats = [_Seat() for _ in range(workers or room)]

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and the local cluster if this executor started one."""
        for seat in self._seats:
            self._empty(seat)
        self._seats = []
        if self._started and self._ray.is_initialized():
            self._ray.shutdown()

    @property
    def wave(self) -> int:
        """How many workers there are."""
        return len(self._seats)

    @property
    def pids(self) -> list[int]:
        """Processes of the workers whose model is loaded."""
        return [seat.pid for seat in self._seats if seat.pid is not None]

    def split(self, n_batches: int) -> list[range]:
        """One batch a shard; several, as evenly as can be, where there are many."""
        n = min(n_batches, MOST_SHARDS)
        return [range(i * n_batches // n, (i + 1) * n_batches // n) for i in range(n)]

    def map(
        self,
        task: Task,
        model: Any,
        common: Any,
        shards: Sequence[Any],
        *,
        sizes: Sequence[int] | None = None,
        progress: Progress | None = None,
        each: Each | None = None,
    ) -> list[Any]:
        """`task(worker, common, shard)` of every shard, in order, on the workers' own copies of `model`.

        Shard i goes to worker i mod n, which may have kept what it needs; a worker without work takes from the others.

        Raises:
            StudyError: if workers keep dying over one shard, or while loading.
            Exception: what a task raised.
        """
        if not self._seats:
            raise StudyError("executor ray: it was closed; make a new one")
        if self._model is None or self._model.hf is not model.hf:
            for seat in self._seats:
                self._empty(seat)
        self._model = model
        self._calls += 1
        call = _Call(
            self,
            task,
            self._calls,
            self._ray.put(pack((model.response_prefix, common))),
            [pack(shard) for shard in shards],
        )
        sizes = [1] * len(shards) if sizes is None else sizes
        done = 0
        for index in call.run():
            done += sizes[index]
            if each:
                each(index, unpack(call.results[index]))
            if progress:
                progress(done, sum(sizes))
        return [unpack(result) for result in call.results]

    # Workers

    def _fill(self, seat: _Seat) -> None:
        """Put a new worker into a seat; its model begins to load."""
        said = self._model.describe()
        remote = self._ray.remote(Actor).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_task_retries=0
        )
        seat.actor = remote.remote(self.arguments | {"dtype": said["dtype"]}, said, self.cpus)
        seat.loading = seat.actor.load.remote()
        seat.pid = None

    def _empty(self, seat: _Seat) -> None:
        if seat.actor is not None and self._ray.is_initialized():
            self._ray.kill(seat.actor, no_restart=True)
        seat.actor = seat.loading = seat.pid = None


class _Call:
    """One `map`: which shard is where."""

    def __init__(self, executor: RayExecutor, task: Task, number: int, common: Any, shards: list[bytes]) -> None:
        self.executor, self.task, self.number, self.common, self.shards = executor, task, number, common, shards
        self.results: list[bytes] = [b""] * len(shards)
        n = len(executor._seats)
        self.own = [deque(range(i, len(shards), n)) for i in range(n)]  # what each seat has to do
        self.again: deque[int] = deque()  # what a worker died over
        self.busy: dict[Any, tuple[int, int | None]] = {}  # reference → (seat, its shard; None: it is loading)
        self.deaths: Counter[int] = Counter()

    def run(self) -> Any:
        """Work until everything is done; yields each shard's number as it is done."""
        ray = self.executor._ray
        try:
            for at, seat in enumerate(self.executor._seats):
                if seat.actor is None and self.own[at]:
                    self.executor._fill(seat)
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
                self.executor._empty(self.executor._seats[at])
            raise

    def _tell(self, left: int) -> None:
        """What a long silence means: slow shards, or a cluster on which no worker has found a place."""
        if any(seat.pid is not None for seat in self.executor._seats):
            log.info("ray: still waiting for %d shards, %d workers at it", left, len(self.busy))
        else:
            free = self.executor._ray.available_resources()
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
        seat = self.executor._seats[at]
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
        ray = self.executor._ray
        at, shard = self.busy.pop(reference)
        seat = self.executor._seats[at]
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

    def _replace(self, seat: _Seat, shard: int | None, error: Exception) -> None:
        """A new worker for one that died; its shard is done again, by whoever is free first."""
        self.executor._empty(seat)
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
        self.executor._fill(seat)
        self.executor.replaced += 1
