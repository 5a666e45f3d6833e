"""Executors: the protocol for running a task over shards in order, and its in-process implementation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

KEPT = 24  # things a worker keeps between shards

Kept = TypeVar("Kept")
Task = Callable[["Worker", Any, Any], Any]  # (worker, what is common to all shards, the shard) → its result
Progress = Callable[[int, int], None]  # done, total
Each = Callable[[int, Any], None]  # which shard, its result


def cut(shards: Sequence[range], most: int, pieces: int | None = None) -> list[range]:
    """The same batches in ranges of at most `most`; of more, where there would be more than `pieces` ranges of a shard.

    What decides it is the number of batches alone, so that a prompt is run in the same company every time.
    """
    found = []
    for shard in shards:
        n = max(1, -(-len(shard) // most))
        n = n if pieces is None else min(n, pieces)
        found += [shard[i * len(shard) // n : (i + 1) * len(shard) // n] for i in range(n)]
    return found


def _silent(_done: int) -> None:
    pass


@dataclass(eq=False)
class Worker:
    """A process at work: its model, and what it keeps from one shard to the next.

    model  a ChatModel
    tell   called by a task with how much of its shard is done, in the unit of the shards' sizes
    """

    model: Any
    tell: Callable[[int], None] = _silent
    _kept: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict, repr=False)

    def keep(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What `make()` gave the first time it was asked for under this key; the least recently used of many are forgotten."""
        kept: Kept = self._kept[key] if key in self._kept else make()
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return kept


@runtime_checkable
class Executor(Protocol):
    """Whoever runs tasks. Tasks are functions of a module, and what they are given and give back can be pickled."""

    @property
    def wave(self) -> int:
        """How many shards are worked on at once."""
        ...

    def split(self, n_batches: int) -> list[range]:
        """How batches are shared out: fixed beforehand, so that results depend neither on workers nor on what befalls them."""
        ...

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
        """`task(worker, common, shard)` of every shard, in the shards' order.

        `progress(done, total)` counts in the unit of `sizes`, one number a shard (1 each by default). `each(index, result)`
        is called as soon as a shard is done.
        """
        ...


class SerialExecutor:
    """Everything in this process, one shard after the other."""

    wave = 1

    def __init__(self) -> None:
        self._worker = Worker(None)

    def split(self, n_batches: int) -> list[range]:
        """All batches in one shard."""
        return [range(n_batches)]

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
        """`task(worker, common, shard)` of every shard, in order, on the model given."""
        if self._worker.model is not model:
            self._worker = Worker(model)
        sizes = [1] * len(shards) if sizes is None else sizes
        total, before, results = sum(sizes), 0, []
        for shard, size in zip(shards, sizes, strict=True):
            told = 0

            def tell(done: int, size: int = size, before: int = before) -> None:
                nonlocal told
                told = min(done, size)
                if progress:
                    progress(before + told, total)

            self._worker.tell = tell
            try:
                results.append(task(self._worker, common, shard))
            finally:
                self._worker.tell = _silent
            if each:
                each(len(results) - 1, results[-1])
            if told < size:
                tell(size)
            before += size
        return results
