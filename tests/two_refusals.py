"""A tiny model whose refusal lies in a plane: two kinds of requests, each of which writes a direction of its own.

Requests that hold "X" write u₁ and those that hold "Z" write u₂ at every later token, and the model says "R" (it refuses) where
(u₁ + u₂)·x is large enough, else "A". So the difference of means over both kinds is one direction in that plane, and one is not
enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

import rhat
from rhat.model import ChatModel
from tiny import tiny_hf, tiny_tokenizer

SUBJECTS = ("the lamp", "an old boat", "some bread", "a stone", "the river", "her coat", "two birds", "the long road")
FIRST = tuple(f"X {subject}." for subject in SUBJECTS)
SECOND = tuple(f"Z {subject}." for subject in SUBJECTS)
HARMLESS = tuple(f"Q {subject}." for subject in SUBJECTS)
CARRIED, BIAS, LOUD = 40.0, 2.0, 3.0


@dataclass(frozen=True)
class TwoRefusals:
    """The model, the two directions that it reads, and whether it refuses."""

    model: ChatModel
    first: torch.Tensor
    second: torch.Tensor

    def refused(self, prompts, intervention=None) -> list[bool]:
        """Whether the first token of each answer is the refusal."""
        said = self.model.generate(list(prompts), 1, intervention=intervention)
        assert {c.text for c in said} <= {"R", "A"}
        return [c.text == "R" for c in said]


def two_refusals(n_layers: int = 3, dtype: torch.dtype = torch.float64) -> TwoRefusals:
    """Such a model. The first block carries u₁ and u₂ from any token to all later ones; later blocks write beside the plane."""
    hf, tokenizer = tiny_hf("llama", n_layers, torch.float64, seed=1), tiny_tokenizer()
    width = hf.config.hidden_size
    axes = torch.linalg.qr(torch.randn(width, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0].T
    first, second, constant = axes
    beside = torch.eye(width, dtype=torch.float64) - axes.T @ axes
    ids = {letter: tokenizer.convert_tokens_to_ids(letter) for letter in "XZRA"}
    with torch.no_grad():
        embedding, head = hf.get_input_embeddings().weight, hf.lm_head.weight
        embedding.copy_(embedding @ beside)
        embedding[ids["X"]] += LOUD * first
        embedding[ids["Z"]] += LOUD * second
        embedding += constant
        for block in hf.model.layers:
            for linear in (block.self_attn.o_proj, block.mlp.down_proj):
                linear.weight.copy_(beside @ linear.weight)
        attention = hf.model.layers[0].self_attn
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
            linear.weight.zero_()  # without queries and keys every token attends alike to all before it
        hf.model.layers[
            0
        ].mlp.down_proj.weight.zero_()  # so that behind the first block requests differ in the plane alone
        hf.model.layers[0].input_layernorm.weight.fill_(1.0)
        hf.model.norm.weight.fill_(1.0)
        attention.v_proj.weight[0], attention.v_proj.weight[1] = first, second
        attention.o_proj.weight[:, 0], attention.o_proj.weight[:, 1] = CARRIED * first, CARRIED * second
        head.zero_()
        head[ids["R"]] = first + second
        head[ids["A"]] = BIAS * constant
    return TwoRefusals(rhat.load((hf.to(dtype), tokenizer)), first, second)
