"""kill -9 at twenty random moments of `rhat find`, and of a study: the same command ends with the same numbers.

Each command is a process of its own, forked from one that has imported everything, so that it is killed while it works.
"""

import json
import random
import signal
import time

import pytest

import studies
from forking import Forking

KILLS = 20
SHARE = 0.35  # of the whole command's time: the latest moment at which it is killed
COMPARED = ("outcome", "direction", "candidates", "rates", "scores", "comparisons", "primary")
WIDTH = 48  # of the taught model


@pytest.fixture(scope="module")
def forking(tmp_path_factory):
    forking = Forking(tmp_path_factory.mktemp("said") / "said")
    yield forking
    forking.close()


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
    assert forking.run([*made(tmp_path / "whole"), *given]) == 0, forking.errors
    took = time.perf_counter() - begin
    whole = read(tmp_path / "whole", forking.said)
    moments, folder, kills = random.Random(7), tmp_path / "0", 0
    while kills < KILLS:
        folder.mkdir(exist_ok=True)
        code = forking.run([*made(folder), *given], killed_after=moments.uniform(0, SHARE * took))
        if code == -signal.SIGKILL:
            kills += 1
            continue
        assert code == 0, forking.errors
        assert read(folder, forking.said) == whole
        folder = tmp_path / str(kills)  # it came to its end between two kills: once more
    folder.mkdir(exist_ok=True)
    assert forking.run([*made(folder), *given]) == 0, forking.errors
    assert read(folder, forking.said) == whole
