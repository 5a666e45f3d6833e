"""This checkout against another one, such as that of an earlier commit, on one machine, in turns:

    git worktree add /tmp/before COMMIT
    .venv/bin/python benchmarks/against.py /tmp/before --direction direction.safetensors [--rounds 3]

Each round starts a process for each checkout, with its own sources and its own benchmark functions, in float32, so that processors without native bfloat16
can be used; then the servers of both answer the same streaming clients, one server at a time. Prints a table of medians and of the smallest and largest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from servers import AT_ONCE, rhat_command, started
from subject import Subject

HERE = Path(__file__).resolve().parents[1]
RUN = """
import json, sys
from pathlib import Path
checkout, direction = sys.argv[1:]
sys.path.insert(0, str(Path(checkout) / "benchmarks"))
import capture, profiles, rhat
from measuring import timed
from rhat.directions import Direction
from rhat.generation import generate_tokens
from rhat.interventions import ablate, set_projection
from subject import MODEL, Subject
try:
    from rhat.model.logits import last_logits
except ImportError:  # where it stood at first
    from rhat.model.forward import last_logits

assert Path(rhat.__file__).is_relative_to(checkout), rhat.__file__
subject, found = Subject(quick=True), {}
subject.__dict__["model"] = model = rhat.load(MODEL, dtype="float32")
r = Direction.load(direction)
edits = {"nothing": {}, "set_projection": set_projection(r).edits(model), "ablate": ablate(r).edits(model)}
plan = model.plan(subject.texts(32, "validation"))
for name, edit in edits.items():
    found["scoring pass of 32 prompts, " + name] = timed(lambda: list(last_logits(model, plan, edit)), runs=3).median
prompts = model.tokenize(subject.texts(32))
for name in ("nothing", "set_projection"):
    answers = lambda: generate_tokens(model, prompts, edits[name] or None, max_new_tokens=16, ignore_eos=True)
    found["16 tokens of 32 prompts, " + name] = timed(answers, runs=1).median
for rows in (1, 16):
    found[f"decode step of {rows}"] = profiles.decode_step(subject, rows)["seconds"]
prompts = model.tokenize(subject.texts(64, "train"))
found["means at all layers, 64 prompts"] = timed(lambda: capture.means(model, prompts), runs=3).median
print(json.dumps(found))
"""


def one(checkout: Path, direction: Path) -> dict[str, float]:
    """Seconds of each piece of work in a process of the checkout's own sources."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", RUN, str(checkout), str(direction)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def served(checkouts: dict[str, Path], direction: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Work of the servers → checkout → seconds: to the first token and for each token, of one client and of many."""
    subject = Subject(quick=True)
    texts = [p.text for p in subject.prompts.select("harmless", "test", AT_ONCE)]
    loads = {"one client": (1, texts[:2]), f"{AT_ONCE} clients": (AT_ONCE, texts)}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        command = rhat_command(direction, "--dtype", "float32")
        servers = {
            name: stack.enter_context(started(name, "default", command, {"PYTHONPATH": str(checkout / "src")}))
            for name, checkout in checkouts.items()
        }
        for turn in range(rounds + 1):  # the first warms up
            for name in list(servers)[:: 1 if turn % 2 == 0 else -1]:
                server = servers[name]
                with server.awake():
                    for load, (at_once, some) in loads.items():
                        server.loaded(load, some, at_once, subject.model.tokenizer)
                        one = server.rounds[load][-1]
                        if turn:
                            found[f"server, {load}, first token"][name].append(one.first)
                            found[f"server, {load}, a token"][name].append(1 / one.rate)
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--direction", type=Path, required=True, help="r̂ of the default model, from `rhat find`")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    checkouts = {"other": chosen.other.resolve(), "this": HERE}
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for turn in range(chosen.rounds):
        for name in list(checkouts)[:: 1 if turn % 2 == 0 else -1]:
            for work, seconds in one(checkouts[name], chosen.direction.resolve()).items():
                times[work][name].append(seconds)
    times |= served(checkouts, chosen.direction.resolve(), chosen.rounds)
    print("| Work | Other: median, range | This: median, range | Ratio |\n| --- | --- | --- | --- |")
    for work, both in times.items():
        said = [f"{statistics.median(t):.3g} s ({min(t):.3g} to {max(t):.3g})" for t in both.values()]
        ratio = statistics.median(both["this"]) / statistics.median(both["other"])
        print(f"| {work} | {' | '.join(said)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
