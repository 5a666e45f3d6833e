"""Implementations of attention: the two that are tried with rhat's masks, and what stands in for every other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from rhat.errors import ModelError
from rhat.model.precision import wide

TAKEN = ("sdpa", "eager")  # take masks of any form, on every device
SAME = ("flash_attention", "flex_attention", "paged|")  # other programs for what these compute


def configs_of(hf: nn.Module) -> tuple[Any, ...]:
    """Every configuration that a part of the model looks at, each once."""
    found = {id(c): c for m in hf.modules() if isinstance(c := getattr(m, "config", None), PreTrainedConfig)}
    for config in list(found.values()):
        text = config.get_text_config()
        found.setdefault(id(text), text)
    return tuple(found.values())


def stand_in(hf: nn.Module) -> str:
    """The implementation that takes the place of one that rhat's masks do not suit."""
    models = [m for m in hf.modules() if isinstance(m, PreTrainedModel)]
    return "sdpa" if models and all(getattr(m, "_supports_sdpa", False) for m in models) else "eager"


def unsuited(configs: tuple[Any, ...]) -> list[str]:
    """Names of the implementations in use that are not among those that take rhat's masks."""
    names = (config._attn_implementation for config in configs)
    return sorted({name for name in names if name is not None and name not in TAKEN})


@contextmanager
def suited(configs: tuple[Any, ...], instead: str) -> Iterator[None]:
    """Let attention that rhat's masks do not suit be computed by `instead`; leaving it restores each configuration."""
    before = [(config, config._attn_implementation) for config in configs]
    changed = [(config, name) for config, name in before if name is not None and name not in TAKEN]
    try:
        for config, _ in changed:
            config._attn_implementation_internal = instead  # not the property, which reaches into nested ones
        yield
    finally:
        for config, name in changed:
            config._attn_implementation_internal = name


def check_suited(hf: Any) -> None:
    """Make sure that what stands in for this model's attention computes the same, if anything must.

    Raises:
        ModelError: if it does not, or if the model keeps to the attention that it was built with.
    """
    configs = configs_of(hf)
    names = unsuited(configs)
    if not names:
        return
    title, instead = type(hf).__name__, stand_in(hf)
    advice = 'load it with attn_implementation="sdpa" or "eager"'
    if not getattr(hf, "_can_set_attn_implementation", lambda: False)():
        raise ModelError(
            f"{title}: got attention {', '.join(names)}, expected sdpa or eager, and this model cannot change it; {advice}"
        )
    if all(name.startswith(SAME) for name in names):
        return
    vocab = hf.config.get_text_config().vocab_size
    ids = torch.arange(8, device=next(hf.parameters()).device)[None] % vocab
    try:
        with torch.no_grad():
            own = wide(hf(input_ids=ids, use_cache=False).logits)
            with suited(configs, instead):
                other = wide(hf(input_ids=ids, use_cache=False).logits)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{title}: a pass of eight tokens with attention {', '.join(names)} failed ({reason}); {advice}"
        ) from error
    distance = float((own - other).norm() / own.norm().clamp_min(1e-12))
    limit = {torch.float64: 1e-6, torch.float32: 1e-3}.get(hf.dtype, 0.05)
    if not distance <= limit:
        raise ModelError(
            f"{title}: attention {', '.join(names)} is not one that takes rhat's masks, and {instead} in its place gives "
            f"other logits (relative error {distance:.1e}, expected {limit:g} at most); {advice}"
        )
