"""kill -9 at twenty random moments of `rhat find`, and of a study: the same command ends with the same numbers.

Each command is a process of its own, forked from one that has imported everything, so that it is killed while it works.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import studies

KILLS = 20
SHARE = 0.35  # of the whole command's time: the latest moment at which it is killed
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
COMPARED = ("outcome", "direction", "candidates", "rates", "scores", "comparisons", "primary")
WIDTH = 48  # of the taught model


class Forking:
    """A process that forks commands."""

    def __init__(self, said):
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

    def run(self, arguments, killed_after=None):
        """The exit code of a command, negative where it was killed after so many seconds."""
        print(json.dumps([[str(a) for a in arguments], str(self.said)]), file=self.process.stdin, flush=True)
        number = int(self.process.stdout.readline())
        if killed_after is not None:
            time.sleep(killed_after)
            with suppress(ProcessLookupError):  # it has ended
                os.kill(number, signal.SIGKILL)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def forking(tmp_path_factory):
    forking = Forking(tmp_path_factory.mktemp("said") / "said")
    yield forking
    forking.process.stdin.close()
    forking.process.wait(timeout=30)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    known = studies.arguments(tmp_path_factory.mktemp("study"))
    return [f"--{name}={known[name]}" for name in ("model", "dtype", "harmful", "harmless")]


def found(folder, said):
    """What `rhat find` prints, and the unit vector that it writes: the end of the file."""
    printed = json.loads(said.read_text())
    printed.pop("timings", None)
    printed["direction"].pop("file")
    return printed, (folder / "r.safetensors").read_bytes()[-4 * WIDTH :]


def studied(folder, _said):
    files = [(folder / name).read_bytes() for name in ("completions.jsonl", "per_prompt.parquet")]
    results = json.loads((folder / "results.json").read_text())
    return files, {name: results.get(name) for name in COMPARED}


COMMANDS = {
    "find": (lambda folder: ["find", "--quick", "--format=json", "--out", folder / "r.safetensors"], found),
    "study": (lambda folder: ["study", "--preset=quick", "--only=induce", "--out", folder], studied),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_twenty_moments_it_ends_with_the_same_numbers(command, given, forking, tmp_path):
    made, read = COMMANDS[command]
    (tmp_path / "whole").mkdir()
    begin = time.perf_counter()
    assert forking.run([*made(tmp_path / "whole"), *given]) == 0, Path(f"{forking.said}.err").read_text()
    took = time.perf_counter() - begin
    whole = read(tmp_path / "whole", forking.said)
    moments, folder, kills = random.Random(7), tmp_path / "0", 0
    while kills < KILLS:
        folder.mkdir(exist_ok=True)
        code = forking.run([*made(folder), *given], killed_after=moments.uniform(0, SHARE * took))
        if code == -signal.SIGKILL:
            kills += 1
            continue
        assert code == 0, Path(f"{forking.said}.err").read_text()
        assert read(folder, forking.said) == whole
        folder = tmp_path / str(kills)  # it came to its end between two kills: once more
    folder.mkdir(exist_ok=True)
    assert forking.run([*made(folder), *given]) == 0, Path(f"{forking.said}.err").read_text()
    assert read(folder, forking.said) == whole
