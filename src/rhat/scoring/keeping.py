"""Executors around executors: one that counts the work of every shard, one that also writes down what each gives at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from rhat.executor import Each, Executor, Progress, Task, Worker
from rhat.model.work import Work, add, counting
from rhat.scoring.pieces import Pieces, UnkeepableError, key_of
from rhat.scoring.tasks import Answering, Answers


def counted(task: Task, worker: Worker, common: Any, shard: Any) -> tuple[Any, Work]:
    """What a task gives, and the work that it took, wherever it runs."""
    with counting(apart=True) as done:
        value = task(worker, common, shard)
    return value, done.total


class Counting:
    """An executor around another one: the work of its shards, wherever they run, counts in the ledger of who asked."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    @property
    def wave(self) -> int:
        """How many shards the executor works on at once."""
        return self.executor.wave

    def split(self, n_batches: int) -> list[range]:
        """How the executor shares batches out."""
        return self.executor.split(n_batches)

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
        """`task(worker, common, shard)` of every shard, in order."""

        def done(index: int, both: tuple[Any, Work]) -> None:
            add(both[1])
            if each:
                each(index, both[0])

        both = self.executor.map(
            partial(counted, task), model, common, shards, sizes=sizes, progress=progress, each=done
        )
        return [value for value, _ in both]


class Keeping(Counting):
    """An executor around another one. What a shard gave is looked up under the contents of the task, of what is common to
    all shards and of the shard itself, so that it does not matter in which order things are asked for.

    Answers to prompts that may be harmful are kept without their words. What cannot be told by its contents is not kept.
    """

    def __init__(self, executor: Executor, pieces: Pieces) -> None:
        super().__init__(executor)
        self.pieces = pieces

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
        """`task(worker, common, shard)` of every shard, in order: looked up, or done now and kept."""
        sizes = [1] * len(shards) if sizes is None else sizes
        keys = [self._key(task, model, common, shard) for shard in shards]
        found = {i: value for i, key in enumerate(keys) if key and (value := self.pieces.load(key)) is not None}
        missing = [i for i in range(len(shards)) if i not in found]
        before, total = sum(sizes[i] for i in found), sum(sizes)
        for i, value in found.items():
            if each:
                each(i, value)
        if progress and found:
            progress(before, total)

        def done(index: int, both: tuple[Any, Work]) -> None:
            (value, work), i = both, missing[index]
            add(work)
            key = keys[i]
            if key is not None:
                wordless = isinstance(value, Answers) and not (isinstance(common, Answering) and common.harmless)
                self.pieces.save(key, value.wordless() if wordless else value, work)
            if each:
                each(i, value)

        if missing:
            results = self.executor.map(
                partial(counted, task),
                model,
                common,
                [shards[i] for i in missing],
                sizes=[sizes[i] for i in missing],
                progress=(lambda at, _total: progress(before + at, total)) if progress else None,
                each=done,
            )
            found |= {i: value for i, (value, _) in zip(missing, results, strict=True)}
        return [found[i] for i in range(len(shards))]

    def _key(self, task: Task, model: Any, common: Any, shard: Any) -> str | None:
        try:
            return key_of(
                task.__name__, task, model.response_prefix, model.thinking.limit, model.template_length, common, shard
            )
        except UnkeepableError:
            return None
