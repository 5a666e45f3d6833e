"""Drift: how far an intervention moves the model on harmless prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.origin import not_finite
from rhat.model.passes import lm_head, run_model
from rhat.model.plain import left_padded
from rhat.model.plans import TokenIds
from rhat.model.precision import wide
from rhat.model.tap import declared, tap
from rhat.reprs import one_line
from rhat.scoring.logodds import ROWS_AT_ONCE


@dataclass(frozen=True, eq=False)
class Drift:
    """Per prompt: KL(base ‖ edited) of the next token in nats; and cross-entropy of the baseline's own completion."""

    kl: Float[Tensor, " n"]
    cross_entropy: Float[Tensor, " n"] | None = None

    __repr__ = one_line


def kl_divergence(
    base: Float[Tensor, "*batch vocab"], edited: Float[Tensor, "*batch vocab"]
) -> Float[Tensor, "*batch"]:
    """KL(base ‖ edited) of two next-token distributions given by logits, in nats, float64, never below 0.

    A token that `base` masks (logit −inf) adds nothing; one that `edited` alone masks makes it infinite.
    """
    flat = base.reshape(-1, base.shape[-1]), edited.reshape(-1, edited.shape[-1])
    parts = []
    for some, others in zip(*(x.split(ROWS_AT_ONCE) for x in flat), strict=True):
        p, q = wide(some).log_softmax(-1), wide(others).log_softmax(-1)
        parts.append((p.exp() * (p - q)).masked_fill(p.isneginf(), 0.0).sum(-1).clamp_min(0))
    return torch.cat(parts).reshape(base.shape[:-1])


def cross_entropy(
    model: ChatModel,
    prompts: Sequence[TokenIds],
    completions: Sequence[TokenIds],
    edits: Edits | None = None,
) -> Float[Tensor, " n"]:
    """Mean nats per token of given completions, each after its prompt, under `edits`; float64, one value a prompt.

    NaN where a completion is empty. The completion's tokens count as generated: a scope means the same tokens as while
    decoding.

    Raises:
        NonFiniteError: if logits are no distribution, or give one of the completion's tokens no chance at all.
    """
    out = torch.full((len(prompts),), torch.nan, dtype=torch.float64)
    order = [
        i
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(completions[i]))
        if len(completions[i])
    ]
    at_once = 32 if model.supports_padding else 1
    for begin in range(0, len(order), at_once):
        group = order[begin : begin + at_once]
        sequences = [(*prompts[i], *completions[i]) for i in group]
        lengths = torch.tensor([len(prompts[i]) for i in group])
        ids, mask, context = left_padded(model, sequences, torch.tensor(group), lengths)
        context = replace(context, length=mask.sum(-1))  # one pass over the whole, not as it was generated
        with torch.no_grad(), declared(context), tap(model, edits or {}):
            hidden = run_model(model, ids, mask, context, bare=True)[0]
        for row, i in enumerate(group):
            n = len(completions[i])
            with torch.no_grad():
                logits = wide(lm_head(model, hidden[row, -n - 1 : -1]))
            out[i] = -logits.log_softmax(-1)[torch.arange(n), torch.tensor(list(completions[i]))].mean().cpu()
            if not bool(out[i].isfinite()):
                raise not_finite(model, sequences[row], edits, row=i, prompt_length=len(prompts[i]))
    return out
