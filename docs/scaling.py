"""Measure what a token costs on this machine and how work grows with Ray workers; put the tables into docs/scaling.md.

.venv/bin/python docs/scaling.py [MODEL, or a .json of what was measured]
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

import rhat
from rhat.distributed import RayExecutor
from rhat.distributed.packing import pack
from rhat.executor import SerialExecutor
from rhat.generation import generate_tokens
from rhat.interventions import Intervention
from rhat.scoring import tasks
from rhat.study.manifest import processor

PAGE = Path(__file__).with_name("scaling.md")
# The estimate's assumptions: a model of 8 billion parameters and 32 layers on GPUs of the H100 class.
LARGE, LARGE_LAYERS, POSITIONS = 7.5e9, 32, 5  # parameters of its blocks; template positions
CONDITIONS, VALIDATION, TEST, GENERATED = 60, 64, 200, 24  # of the standard preset, about
FLOPS, BYTES = 0.3 * 990e12, 0.5 * 3.35e12  # a second: 30 % of the bfloat16 peak, half of the memory's
DISK = 2e9  # bytes a second from which weights are loaded
END = "<!-- end -->"
CANDIDATES, PROMPTS = 4, 48
GPUS = 1000


class Counted:
    """Tokens that go through the decoder inside the `with`, and the seconds and processor seconds that they take."""

    def __init__(self, model: rhat.model.ChatModel) -> None:
        self.model, self.tokens = model, 0

    def __enter__(self) -> Counted:
        def count(_module: Any, args: tuple, kwargs: dict) -> None:
            self.tokens += kwargs["input_ids"].numel()

        self.handle = self.model.layout.base.register_forward_pre_hook(count, with_kwargs=True)
        self.began, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_error: object) -> None:
        self.seconds, self.cpu = time.perf_counter() - self.began, time.process_time() - self.cpu
        self.handle.remove()


def block_parameters(model: Any) -> int:
    """Parameters that a token is multiplied by: those of the blocks."""
    return sum(p.numel() for part in model.layout.parts for p in part.block.parameters())


def measured(name: str) -> dict[str, Any]:
    """Costs by token in this process, and the same work by one and by two workers."""
    torch.set_num_threads(1)  # one core a worker, here as there
    began = time.perf_counter()
    model = rhat.load(name)
    loading = time.perf_counter() - began
    texts = [p.text for p in rhat.prompts.builtin().select("harmless", "train", PROMPTS)]
    plan = model.plan(texts)
    unit = torch.nn.functional.normalize(
        torch.randn(CANDIDATES, model.d_model, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    edits = [Intervention("ablate", u, 0, where="all layers").edits(model) for u in unit]
    asked = tasks.Scoring(plan.prompts, (40, 2121))
    runs = [tasks.Run((e,), range(len(plan.batches))) for e in edits]
    serial = SerialExecutor()
    serial.map(tasks.score, model, asked, runs[:1])  # warm
    with Counted(model) as scoring:
        truth = serial.map(tasks.score, model, asked, runs)
    with Counted(model) as decoding:
        said = generate_tokens(model, plan.prompts, max_new_tokens=24)
    workers: dict[str, dict[str, Any]] = {
        "serial": {"workers": 0, "seconds": scoring.seconds, "cpu": scoring.cpu, "start": 0.0}
    }
    for n in (1, 2):
        began = time.perf_counter()
        with RayExecutor({"name": name}, workers=n, cpus=1) as executor:
            executor.map(tasks.score, model, asked, runs[:n])
            started = time.perf_counter() - began
            before = [sum(psutil.Process(p).cpu_times()[:2]) for p in executor.pids]
            began = time.perf_counter()
            found = executor.map(tasks.score, model, asked, runs)
            taken = time.perf_counter() - began
            cpu = sum(sum(psutil.Process(p).cpu_times()[:2]) for p in executor.pids) - sum(before)
        assert all(torch.equal(a.scores, b.scores) for [a], [b] in zip(truth, found, strict=True))
        workers[f"ray, {n}"] = {"workers": n, "seconds": taken, "cpu": cpu, "start": started}
    return {
        "model": name,
        "parameters": block_parameters(model),
        "loading": loading,
        "prompts": PROMPTS,
        "candidates": CANDIDATES,
        "tokens": scoring.tokens,
        "scoring": scoring.cpu / scoring.tokens,
        "decoding": decoding.cpu / sum(len(c.tokens) for c in said),
        "workers": workers,
        "task": len(pack(runs[0])),
        "result": len(pack(truth[0])),
        "common": len(pack(asked)),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def tables(m: dict[str, Any]) -> str:
    """What was measured, and what follows from it."""
    rate = 2 * m["parameters"] / m["scoring"]
    lines = [
        f"{m['model']}, bfloat16, {m['parameters'] / 1e6:.0f} million parameters in its blocks; {m['processor']}, {m['cores']} cores, one "
        f"thread a worker. Load average while measuring: {m['load']:.1f}, so processor seconds say more than seconds.",
        "",
        "| what | processor seconds |",
        "| --- | ---: |",
        f"| a prompt token, scored under an edit | {1000 * m['scoring']:.2f} ms ({rate / 1e9:.0f} GFLOP/s) |",
        f"| a generated token, batch of {m['prompts']} | {1000 * m['decoding']:.2f} ms |",
        f"| loading the model (seconds) | {m['loading']:.1f} s |",
        "",
        f"{m['candidates']} candidates ablated on {m['prompts']} prompts, {m['tokens']} tokens after sharing the prefix; scores equal to the bit:",
        "",
        "| executor | seconds | processor seconds of workers | start: cluster and model |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, w in m["workers"].items():
        lines.append(f"| {name} | {w['seconds']:.1f} | {w['cpu']:.1f} | {w['start']:.1f} s |")
    lines += [
        "",
        f"Sent once a call and worker: {m['common'] / 1000:.0f} kB. Sent for each candidate: {m['task'] / 1000:.0f} kB; sent back: "
        f"{m['result'] / 1000:.1f} kB.",
    ]
    return "\n".join(lines)


def estimate(m: dict[str, Any]) -> str:
    """What one study of a larger model would cost on many GPUs."""
    per_prompt = m["tokens"] / m["candidates"] / m["prompts"]
    candidates = int(0.8 * LARGE_LAYERS) * POSITIONS
    search = 2 * candidates * VALIDATION * per_prompt
    scored = CONDITIONS * TEST * per_prompt
    said = CONDITIONS * TEST * GENERATED
    scoring = (search + scored) * 2 * LARGE / FLOPS
    decoding = said / 64 * 2 * LARGE / BYTES
    here = ((search + scored) * m["scoring"] + said * m["decoding"]) * LARGE / m["parameters"]
    loading = 2 * LARGE / DISK
    shards = -(-TEST // 64)
    alone = loading + scoring + decoding
    chain = loading + 2 * VALIDATION * per_prompt * 2 * LARGE / FLOPS
    chain += CONDITIONS * (64 * per_prompt * 2 * LARGE / FLOPS + GENERATED * 2 * LARGE / BYTES)
    rows = [
        (
            "prompt tokens of the search",
            f"2 · {candidates} candidates · {VALIDATION} prompts · {per_prompt:.0f}",
            f"{search:,.0f}",
        ),
        (
            "prompt tokens of the experiments",
            f"{CONDITIONS} conditions · {TEST} prompts · {per_prompt:.0f}",
            f"{scored:,.0f}",
        ),
        ("generated tokens", f"{CONDITIONS} · {TEST} · {GENERATED}", f"{said:,.0f}"),
        ("one core of this machine", "the costs above, in proportion to parameters", f"{here / 3600:,.0f} h"),
        (
            "one GPU: scoring",
            f"2 · {LARGE / 1e9:g}e9 operations a token at {FLOPS / 1e12:.0f} TFLOP/s",
            f"{scoring:,.0f} s",
        ),
        ("one GPU: generating", f"batches of 64, weights read at {BYTES / 1e12:.1f} TB/s a step", f"{decoding:,.0f} s"),
        ("a worker's start", f"{2 * LARGE / 1e9:.0f} GB at {DISK / 1e9:g} GB/s", f"{loading:,.0f} s"),
        (
            f"{GPUS} GPUs, one study",
            f"stages one after the other, {shards} batches a condition at once: most GPUs wait; "
            f"{GPUS * chain / 3600:.0f} GPU hours",
            f"{chain:,.0f} s",
        ),
        (
            f"{GPUS} GPUs, {GPUS} studies",
            f"a GPU each, none waits; {GPUS * alone / 3600:.0f} GPU hours",
            f"{alone:,.0f} s",
        ),
    ]
    assumed = (
        f"Assumed: {LARGE / 1e9:g} billion parameters in {LARGE_LAYERS} blocks, {POSITIONS} template positions, prompts as long as the built-in "
        f"ones; GPUs that sustain {FLOPS / 1e12:.0f} TFLOP/s in bfloat16 and {BYTES / 1e12:.1f} TB/s (30 % and half of an H100's peaks); "
        f"the standard preset as about {CONDITIONS} conditions."
    )
    lines = [assumed, "", "| | how | |", "| --- | --- | ---: |", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    return "\n".join(lines)


def put(text: str, name: str, new: str) -> str:
    """The page with one of its blocks replaced."""
    begin = f"<!-- {name}: docs/scaling.py -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{new}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Measure, or with a file of what was measured earlier write the tables again."""
    given = sys.argv[1] if len(sys.argv) > 1 else "qwen2.5-coder-0.5b"
    found = json.loads(Path(given).read_text("utf-8")) if given.endswith(".json") else measured(given)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    text = put(PAGE.read_text("utf-8"), "measured", tables(found))
    PAGE.write_text(put(text, "estimate", estimate(found)), "utf-8")


if __name__ == "__main__":
    main()
