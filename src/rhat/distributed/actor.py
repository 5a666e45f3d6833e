"""What runs in a worker process: a model loaded once, and the tasks sent to it. Nothing heavy is imported before it is set up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rhat.distributed.packing import pack, unpack
from rhat.errors import ModelError
from rhat.executor import Task, Worker


class Actor:
    """A worker.

    arguments  what `rhat.load` is given
    expected   what `ChatModel.describe` must say, as it does in the process that asks
    """

    def __init__(self, arguments: Mapping[str, Any], expected: Mapping[str, Any], threads: int) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # workers that share cores must not spin while they wait
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self.arguments = dict(arguments)
        self.expected = dict(expected)
        self.threads = threads
        self.worker: Worker | None = None
        self.common: tuple[int, Any] = (-1, None)

    def load(self) -> int:
        """Load the model; returns the id of this process.

        Raises:
            ModelError: if it is not the model that the asking process has.
        """
        import torch

        import rhat

        torch.set_num_threads(self.threads)
        model = rhat.load(**self.arguments)
        said = model.describe()
        for name in ("revision_or_sha256", "n_layers", "d_model", "dtype"):
            if said[name] != self.expected[name]:
                raise ModelError(
                    f"{model.name} on a Ray worker: got {name} {str(said[name])[:16]}, expected "
                    f"{str(self.expected[name])[:16]}; give all machines the same files, or pin --revision and --dtype"
                )
        self.worker = Worker(model)
        return os.getpid()

    def run(self, task: Task, call: int, common: bytes, shard: bytes) -> bytes:
        """One shard. What is common to the shards of a call is opened once."""
        assert self.worker is not None
        if self.common[0] != call:
            prefix, value = unpack(common)
            self.common = (call, value)
            model = self.worker.model.with_response_prefix(prefix)  # which may have been chosen after it was loaded
            if model is not self.worker.model:
                self.worker = Worker(model)
        return pack(task(self.worker, self.common[1], unpack(shard)))
