"""Tiny models with numbers beyond their precision: in one weight, always; at one token, or on long prompts, only there."""

from __future__ import annotations

from typing import Any

import torch

from tiny import tiny_hf, tiny_tokenizer

POISON = "z"  # the token whose embedding holds an infinity
FINE, BAD = "a stone", "a puzzle of stone"
PLACES = {  # → the weight, and where values are then not finite first
    "embeddings": ("model.embed_tokens.weight", "embeddings"),
    "attention": ("model.layers.1.self_attn.o_proj.weight", "model.layers.1.self_attn.o_proj"),
    "mlp": ("model.layers.1.mlp.down_proj.weight", "model.layers.1.mlp.down_proj"),
    "final norm": ("model.norm.weight", "the final norm"),
    "lm head": ("lm_head.weight", "the logits"),
}


def beyond(place: str, dtype: torch.dtype, value: float | None = None) -> Any:
    """A model one of whose weights is as large as the precision holds, so that products are beyond it; or is `value`."""
    hf = tiny_hf(dtype=dtype)
    weight = hf.get_parameter(PLACES[place][0])
    with torch.no_grad():
        if value is None:
            factor = (0.9 * torch.finfo(dtype).max / float(weight.abs().max())) ** 0.5
            weight.mul_(factor).mul_(factor)  # the whole factor may itself be too large for the precision
        else:
            weight[..., 3] = value
    return hf


def poisoned(dtype: torch.dtype = torch.float32, family: str = "llama", token: str = POISON) -> Any:
    """A model that is sound but for one token, whose embedding holds an infinity."""
    hf = tiny_hf(family, dtype=dtype)
    with torch.no_grad():
        hf.get_input_embeddings().weight[poison_id(token), 5] = torch.inf
    return hf


def poison_id(token: str = POISON) -> int:
    return tiny_tokenizer().convert_tokens_to_ids(token)


def at_the_edge(prompt: tuple[int, ...], dtype: torch.dtype = torch.float16) -> Any:
    """A model whose first MLP stays within the precision on the four tokens that load runs, and leaves it on `prompt`."""
    for seed in range(20):  # until the two differ enough
        hf = tiny_hf(dtype=torch.float64, seed=seed)
        mlp = hf.get_submodule("model.layers.0.mlp.down_proj")
        largest: list[float] = []
        handle = mlp.register_forward_hook(lambda _m, _a, out, into=largest: into.append(float(out.abs().max())))
        with torch.no_grad():
            for ids in (torch.arange(20, 24)[None], torch.tensor([prompt])):
                hf(input_ids=ids, use_cache=False)
        handle.remove()
        if largest[1] > 1.3 * largest[0]:
            break
    else:
        raise AssertionError("no seed does")
    with torch.no_grad():
        mlp.weight.mul_(torch.finfo(dtype).max / (largest[0] * largest[1]) ** 0.5)
    return hf.to(dtype)
