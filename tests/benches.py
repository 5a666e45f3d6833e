"""What tests of benches and doses share: plain transformers with an edit, an executor that counts, and files for commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from rhat.executor import SerialExecutor
from tiny import tiny_tokenizer

FORMULAS = {  # of enough operators: x[..., d], r[d], v
    "add": lambda x, r, v: x + v * r,
    "subtract": lambda x, r, v: x - v * r,
    "set_projection": lambda x, r, v: x + (v - x @ r)[..., None] * r,
    "scale": lambda x, r, v: x + (v - 1) * (x @ r)[..., None] * r,
    "add_keeping_norm": lambda x, r, v: (
        (x + v * r) * x.norm(dim=-1, keepdim=True) / (x + v * r).norm(dim=-1, keepdim=True)
    ),
    "raise_projection": lambda x, r, v: x + (v - x @ r).clamp(min=0)[..., None] * r,
}


class Edited:
    """transformers' own model with an edit of what enters a block."""

    def __init__(self, model: Any, layer: int, edit: Any) -> None:
        self.block, self.edit = model.hf.model.layers[layer], edit

    def __enter__(self) -> None:
        self.hook = self.block.register_forward_pre_hook(
            lambda _module, args, kwargs: ((self.edit(args[0]), *args[1:]), kwargs), with_kwargs=True
        )

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def logits(model: Any, sequences: Any) -> torch.Tensor:
    """Log-probabilities of the next token after each sequence."""
    with torch.no_grad():
        found = [model.hf(input_ids=torch.tensor([list(ids)])).logits[0, -1] for ids in sequences]
    return torch.stack(found).double().log_softmax(-1)


def kl(base: torch.Tensor, other: torch.Tensor) -> float:
    """Mean KL of rows of log-probabilities."""
    return float((base.exp() * (base - other)).sum(-1).mean())


def nats(model: Any, prompt: Any, text: Any) -> float:
    """Mean negative log-probability of a text's tokens after a prompt, by transformers' own loss."""
    ids = torch.tensor([[*prompt, *text]])
    labels = torch.tensor([[-100] * len(prompt) + list(text)])
    with torch.no_grad():
        return float(model.hf(input_ids=ids, labels=labels).loss)


class Counted(SerialExecutor):
    """Counts the shards that are worked on."""

    shards = 0

    def map(self, task, model, common, shards, **options):
        self.shards += len(shards)
        return super().map(task, model, common, shards, **options)


def files_of(model: Any, prompts: Any, r: Any) -> list[str]:
    """Write a model's folder, its prompts and r̂ into the working directory; gives the options that name them."""
    model.hf.save_pretrained("model")
    tiny_tokenizer().save_pretrained("model")
    for label in ("harmful", "harmless"):
        rows = [{"prompt": p.text, "split": p.split} for p in prompts.prompts if p.label == label]
        Path(f"{label}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    r._with(model={}).save("r.safetensors")
    named = {
        "-d": "r.safetensors",
        "-m": "model",
        "--harmful": "harmful.jsonl",
        "--harmless": "harmless.jsonl",
        "--dtype": "float32",
    }
    return [part for pair in named.items() for part in pair]
