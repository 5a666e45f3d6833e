"""What every peer's script shares: the prompts it is given, the timing, and what it prints. Runs in the peer's own venv.

    python peers/NAME.py JOB.json   prints one JSON line

The job holds the model's folder, token ids, the number of runs and where to put the means, float64 [layer, position, d]:
outputs of blocks at the last `positions` tokens of every prompt, averaged over prompts.
"""

import importlib.metadata
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

BATCH = 32


class Job:
    """What is to be done."""

    def __init__(self, path: str) -> None:
        given = json.loads(Path(path).read_text())
        self.folder = Path(given["folder"])
        self.prompts = given["prompts"]
        self.pad = given["pad"]
        self.positions = given["positions"]
        self.runs = given["runs"]
        self.out = given["out"]

    def model(self):
        """The model in bfloat16; the base of the rotary embedding is given to a transformers that reads it elsewhere."""
        config = json.loads((self.folder / "config.json").read_text())
        more = {"dtype": torch.bfloat16}
        if int(importlib.metadata.version("transformers").split(".")[0]) < 5:
            more["rope_theta"] = config["rope_parameters"]["rope_theta"]
        return AutoModelForCausalLM.from_pretrained(self.folder, **more).eval()

    def batch(self, prompts):
        """Ids and mask, padded on the left."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[self.pad] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        return {"input_ids": ids, "attention_mask": mask}

    def batches(self, prompts=None):
        """All prompts, 32 at a time, in the order given."""
        prompts = self.prompts if prompts is None else prompts
        for begin in range(0, len(prompts), BATCH):
            yield self.batch(prompts[begin : begin + BATCH])


class Sums:
    """Sums over prompts of the last tokens' activations, float64."""

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.total = {}
        self.count = 0

    def add(self, layer, activation):
        """One batch at one layer, [rows, seq, d]."""
        part = activation[:, -self.positions :].double().sum(0)
        self.total[layer] = part if layer not in self.total else self.total[layer] + part

    def means(self, count):
        """[layer, position, d]."""
        return torch.stack([self.total[layer] for layer in sorted(self.total)]).numpy() / count


def main(make, packages):
    """`make(job)` gives a function (prompts) → means; it is run once on a few prompts, then timed."""
    job = Job(sys.argv[1])
    work = make(job)
    with torch.no_grad():
        work(job.prompts[:BATCH])
        wall, cpu, means = [], [], None
        for _ in range(job.runs):
            begin, used = time.perf_counter(), time.process_time()
            means = work(job.prompts)
            wall.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - used)
    np.save(job.out, means)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", *packages)}
    print(json.dumps({"wall": wall, "cpu": cpu, "versions": versions}))
