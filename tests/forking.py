"""Commands of rhat as processes of their own, forked from one that has imported everything, so that they start at once.

Importing torch and transformers takes longer than a command on a tiny model, and a signal should reach a command at its work.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

FORKS = """
import json, os, sys
import torch, transformers
import rhat.cli.find, rhat.cli.study, rhat.model, rhat.selection.finding, rhat.study
from rhat.cli import run
from transformers import AutoModelForCausalLM, LlamaForCausalLM
torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    arguments, out = json.loads(line)
    process = os.fork()
    if not process:
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(os.open(out + ".err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        code = 1
        try:
            code = run(arguments)
            sys.stdout.flush()
        finally:
            os._exit(code)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class Forking:
    """A process that forks commands, one at a time; what they print is in the file `said`."""

    def __init__(self, said: Path) -> None:
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        self.said = said
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert self.process.stdout.readline() == "ready\n"

    def start(self, arguments: Iterable[Any]) -> int:
        """The number of a process that runs a command."""
        print(json.dumps([[str(a) for a in arguments], str(self.said)]), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def ended(self) -> int:
        """The exit code of the command that was started, negative where a signal ended it, once it has ended."""
        return int(self.process.stdout.readline())

    def run(self, arguments: Iterable[Any], killed_after: float | None = None) -> int:
        """The exit code of a command, negative where it was killed after so many seconds."""
        number = self.start(arguments)
        if killed_after is not None:
            time.sleep(killed_after)
            with suppress(ProcessLookupError):  # it has ended
                os.kill(number, signal.SIGKILL)
        return self.ended()

    @property
    def printed(self) -> str:
        """What the last command wrote to stdout."""
        return self.said.read_text()

    @property
    def errors(self) -> str:
        """What it wrote to stderr."""
        return Path(f"{self.said}.err").read_text()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)
