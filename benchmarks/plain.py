"""The published selection procedure in plain transformers and PyTorch, as one would write it from the paper.

Arditi et al. 2024, section 2.3 and appendix C: for each candidate three sweeps over the validation prompts: KL with the
direction ablated on harmless ones, refusal score with it ablated on harmful ones, refusal score with it added on harmless
ones. Whole prompts, padded on the left, in batches of 32, every position's logits, hooks on block inputs and on attention
and MLP outputs. Nothing of rhat is used here but the list of prompts, token ids and candidates that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BATCH = 32


@dataclass
class Plain:
    """A model and its tokenizer, loaded the usual way."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> Plain:
        """From a folder."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        return cls(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(), tokenizer)

    @property
    def layers(self) -> Any:
        """The blocks."""
        return self.model.model.layers

    def tokenize(self, prompts: Sequence[str]) -> Any:
        """Chat prompts as left-padded ids and their mask."""
        chats = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True
            )
            for p in prompts
        ]
        return self.tokenizer(chats, padding=True, add_special_tokens=False, return_tensors="pt")

    def last_logits(self, prompts: Sequence[str], pre_hooks: Sequence = (), hooks: Sequence = ()) -> Tensor:
        """Logits after each prompt, under hooks."""
        found = []
        with hooked(pre_hooks, hooks), torch.no_grad():
            for begin in range(0, len(prompts), BATCH):
                inputs = self.tokenize(prompts[begin : begin + BATCH])
                found.append(self.model(**inputs).logits[:, -1, :])
        return torch.cat(found)


@contextmanager
def hooked(pre_hooks: Sequence[tuple[Any, Callable]], hooks: Sequence[tuple[Any, Callable]]) -> Iterator[None]:
    """Hooks on modules, removed at the end."""
    handles = [module.register_forward_pre_hook(hook) for module, hook in pre_hooks]
    handles += [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def ablating(plain: Plain, direction: Tensor) -> tuple[list, list]:
    """Hooks that remove a direction from every block's input and from what attention and MLP write."""
    unit = (direction / (direction.norm() + 1e-8)).to(plain.model.dtype)

    def removed(x: Tensor) -> Tensor:
        return x - (x @ unit).unsqueeze(-1) * unit

    def before(_module: Any, args: tuple) -> tuple:
        return (removed(args[0]), *args[1:])

    def after(_module: Any, _args: tuple, output: Any) -> Any:
        return (removed(output[0]), *output[1:]) if isinstance(output, tuple) else removed(output)

    pre_hooks = [(layer, before) for layer in plain.layers]
    hooks = [(part, after) for layer in plain.layers for part in (layer.self_attn, layer.mlp)]
    return pre_hooks, hooks


def adding(plain: Plain, vector: Tensor, layer: int) -> tuple[list, list]:
    """A hook that adds a vector to one block's input, at every token."""
    shift = vector.to(plain.model.dtype)

    def before(_module: Any, args: tuple) -> tuple:
        return (args[0] + shift, *args[1:])

    return [(plain.layers[layer], before)], []


def refusal_score(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """log P(refusal tokens) − log P(the others), float64."""
    p = logits.double().softmax(-1)[:, list(tokens)].sum(-1)
    return torch.log(p + 1e-12) - torch.log(1 - p + 1e-12)


def kl(base: Tensor, other: Tensor) -> Tensor:
    """KL(base ‖ other) of next-token distributions, float64."""
    p, q = base.double().log_softmax(-1), other.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def score_candidate(
    plain: Plain,
    vector: Tensor,
    layer: int,
    harmful: Sequence[str],
    harmless: Sequence[str],
    tokens: Sequence[int],
    base: Tensor,
) -> dict[str, float]:
    """The three sweeps of one candidate; `base` holds the unedited logits of the harmless prompts.

    Means over prompts; and, for the relaxed rule, the mean and standard error of what adding it does to the score.
    """
    ablate = ablating(plain, vector)
    divergence = kl(base, plain.last_logits(harmless, *ablate))
    bypassed = refusal_score(plain.last_logits(harmful, *ablate), tokens)
    induced = refusal_score(plain.last_logits(harmless, *adding(plain, vector, layer)), tokens)
    rise = induced - refusal_score(base, tokens)
    return {
        "kl": float(divergence.mean()),
        "ablation_score": float(bypassed.mean()),
        "induce_score": float(induced.mean()),
        "induce_rise": float(rise.mean()),
        "induce_rise_error": float(rise.std() / len(rise) ** 0.5),
    }
