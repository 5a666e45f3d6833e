"""RayExecutor: tasks over shards on a Ray cluster. A worker that dies is replaced, and its shard done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rhat.distributed.actor import Actor
from rhat.distributed.call import Call, Seat
from rhat.distributed.cluster import connect
from rhat.distributed.packing import pack, unpack
from rhat.errors import StudyError
from rhat.executor import Each, Progress, Task

MOST_SHARDS = 256  # of one call: a shard is one batch where there are fewer


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
        self.ray: Any = ray
        self.arguments = dict(arguments)
        self.replaced = 0  # workers that died and were replaced
        self._calls = 0
        self.seats: list[Seat] = []
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
        has = self.ray.cluster_resources()
        cores, cards = max(1, int(has.get("CPU", 1))), has.get("GPU", 0.0)
        self.gpus = (1.0 if cards else 0.0) if gpus is None else gpus
        self.cpus = max(1, min(cpus, cores // (workers or 1)))
        room = int(cards // self.gpus) if self.gpus else cores // self.cpus
        if not room:
            raise StudyError(
                f"executor ray: a worker needs {self.gpus:g} GPUs, the cluster has {cards:g}; ask for fewer"
            )
        self.seats = [Seat() for _ in range(workers or room)]

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and the local cluster if this executor started one."""
        for seat in self.seats:
            self.empty(seat)
        self.seats = []
        if self._started and self.ray.is_initialized():
            self.ray.shutdown()

    @property
    def wave(self) -> int:
        """How many workers there are."""
        return len(self.seats)

    @property
    def pids(self) -> list[int]:
        """Processes of the workers whose model is loaded."""
        return [seat.pid for seat in self.seats if seat.pid is not None]

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
        if not self.seats:
            raise StudyError("executor ray: it was closed; make a new one")
        if self._model is None or self._model.hf is not model.hf:
            for seat in self.seats:
                self.empty(seat)
        self._model = model
        self._calls += 1
        call = Call(
            self,
            task,
            self._calls,
            self.ray.put(pack((model.response_prefix, common))),
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

    def fill(self, seat: Seat) -> None:
        """Put a new worker into a seat; its model begins to load."""
        said = self._model.describe()
        remote = self.ray.remote(Actor).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_task_retries=0
        )
        seat.actor = remote.remote(self.arguments | {"dtype": said["dtype"]}, said, self.cpus)
        seat.loading = seat.actor.load.remote()
        seat.pid = None

    def empty(self, seat: Seat) -> None:
        """End a seat's worker, if it has one."""
        if seat.actor is not None and self.ray.is_initialized():
            self.ray.kill(seat.actor, no_restart=True)
        seat.actor = seat.loading = seat.pid = None
