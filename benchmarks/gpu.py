"""Everything that a GPU should show, in one command, without network: `.venv/bin/python benchmarks/gpu.py MODEL_FOLDER`.

Runs the conformance of every family of tests/tiny.py on the device, a study of the model, and speed beside transformers and,
where it is installed, vLLM; writes benchmarks/gpu.json after each part and prints the tables. On a processor it does the same.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import rhat
from rhat.errors import RhatError
from rhat.model.check import check
from rhat.model.logits import last_logits
from rhat.prompts import builtin
from rhat.scoring import refusals

HERE = Path(__file__).parent
TOKENS = 24
PARTS = ("conformance", "speed", "study")


def families(device: str, names: Sequence[str]) -> dict[str, Any]:
    """Of each family: whether every check of `rhat check` holds on the device, in float32, and which do not."""
    sys.path.append(str(HERE.parent / "tests"))
    tiny = importlib.import_module("tiny")
    found: dict[str, Any] = {}
    for name in names or tiny.FAMILIES:
        if tiny.FAMILIES[name].refused:
            continue
        hf = tiny.tiny_hf(name, dtype=torch.float32).to(device)
        try:
            result = check(rhat.load((hf, tiny.tiny_tokenizer())))
        except (RhatError, RuntimeError) as error:
            found[name] = {"ok": False, "fails": [f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"]}
            continue
        failed = [f"{one.what} ({one.where}): {one.measured}" for one in result.checks if one.outcome == "failed"]
        found[name] = {"ok": result.ok, "fast": result.fast, "fails": failed}
    return found


def speed(folder: Path, device: str, n: int, runs: int) -> dict[str, Any]:
    """Seconds (medians) of a scoring pass and of answers of 24 tokens, each by rhat, transformers and vLLM."""
    model = rhat.load(str(folder), device=device)
    texts = [p.text for label in ("harmful", "harmless") for p in builtin().select(label, "test", n // 2)]
    prompts = model.tokenize(texts)
    longest = max(map(len, prompts))
    ids = torch.tensor([[model.pad_id] * (longest - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    plan = model.plan(texts)

    def generated() -> Any:
        given = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": TOKENS, "pad_token_id": model.pad_id}
        return model.hf.generate(**given, do_sample=False)

    def scored() -> Any:
        with torch.no_grad():
            return model.hf(input_ids=ids, attention_mask=mask, logits_to_keep=1)

    times = {
        "scoring pass": {"rhat": lambda: list(last_logits(model, plan)), "transformers": scored},
        "answers": {"rhat": lambda: refusals(model, prompts, stop_early=False), "transformers": generated},
    }
    found = {
        work: {tool: median(run, runs, device) for tool, run in tools.items()} | {"prompts": len(prompts)}
        for work, tools in times.items()
    }
    found["answers"] |= by_vllm(folder, prompts, runs, device)
    return found


def by_vllm(folder: Path, prompts: Sequence[Sequence[int]], runs: int, device: str) -> dict[str, Any]:
    """The same answers by vLLM; empty where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        return {}
    vllm = importlib.import_module("vllm")
    engine = vllm.LLM(model=str(folder), gpu_memory_utilization=0.4)
    greedy = vllm.SamplingParams(temperature=0.0, max_tokens=TOKENS)
    given = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
    return {"vLLM": median(lambda: engine.generate(given, greedy, use_tqdm=False), runs, device)}


def median(work: Callable[[], Any], runs: int, device: str) -> float:
    """Seconds of a run, after one that does not count."""
    taken = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        work()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])


def study(folder: Path, device: str, given: dict[str, Any]) -> dict[str, Any]:
    """How long a study takes, stage by stage, and what it found."""
    from rhat.study import StudyConfig, run

    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        results = run(StudyConfig(model=str(folder), device=device, out=Path(out) / "run", **given))
        taken = time.perf_counter() - begin
    stages = {row["stage"]: row["seconds"] for row in results["timings"]}
    return {"seconds": taken, "preset": given["preset"], "outcome": results["outcome"], "stages": stages}


def table(found: dict[str, Any]) -> str:
    """What was found, in words and tables."""
    lines = [f"{found['device']}, torch {found['torch']}, rhat {found['rhat']}"]
    if "conformance" in found:
        sound = [name for name, one in found["conformance"].items() if one["ok"]]
        lines += [f"families that conform: {len(sound)} of {len(found['conformance'])}"]
        lines += [f"  {name}: {', '.join(one['fails'])}" for name, one in found["conformance"].items() if not one["ok"]]
    if "speed" in found:
        tools = ("rhat", "transformers", "vLLM")
        lines += ["| work | " + " | ".join(tools) + " |", "| --- | --- | --- | --- |"]
        for work, one in found["speed"].items():
            said = [f"{one[tool]:.3f} s" if tool in one else "–" for tool in tools]
            lines += [f"| {work}, {one['prompts']} prompts | " + " | ".join(said) + " |"]
    if "study" in found:
        lines += [f"study, preset {found['study']['preset']}: {found['study']['seconds']:.0f} s"]
    return "\n".join(lines)


def measured(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the parts that were asked for, and write what they found after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the model's folder, on this machine")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--families", nargs="*", default=[], help="all by default")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--experiments", nargs="*", default=[], help="of the study; all of the preset's by default")
    parser.add_argument("--harmful")
    parser.add_argument("--harmless")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "gpu.json")
    asked = parser.parse_args(arguments)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    given = {name: getattr(asked, name) for name in ("preset", "harmful", "harmless") if getattr(asked, name)}
    given["only"] = tuple(asked.experiments)
    cuda = torch.device(asked.device).type == "cuda"
    device = torch.cuda.get_device_name(asked.device) if cuda else asked.device
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "rhat": rhat.__version__}
    works: dict[str, Callable[[], Any]] = {
        "conformance": lambda: families(asked.device, asked.families),
        "speed": lambda: speed(asked.model, asked.device, asked.prompts, asked.runs),
        "study": lambda: study(asked.model, asked.device, given),
    }
    for part in PARTS:
        if part in asked.only:
            found[part] = works[part]()
            asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    print(table(measured()))
