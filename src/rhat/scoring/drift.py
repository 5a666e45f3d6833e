"""Drift: how far an intervention moves the model on harmless prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.model.chat import ChatModel
from rhat.model.decoder import slow
from rhat.model.dispatch import Group, per_row
from rhat.model.edits import Edits, Read, first_layer
from rhat.model.last_token import reads
from rhat.model.origin import not_finite
from rhat.model.passes import blocks_between, lm_head, run_model
from rhat.model.plain import left_padded
from rhat.model.plans import TokenIds
from rhat.model.positions import BEYOND
from rhat.model.precision import wide
from rhat.model.tap import declared, tap, tapped
from rhat.reprs import one_line
from rhat.scoring.logodds import ROWS_AT_ONCE
from rhat.sites import Site

AT_ONCE = 32  # sequences that are run in one pass
STATES = 128  # hidden states that meet the vocabulary at once


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
    return cross_entropies(model, prompts, completions, [edits or {}])[0]


def cross_entropies(
    model: ChatModel,
    prompts: Sequence[TokenIds],
    completions: Sequence[TokenIds],
    conditions: Sequence[Edits | Sequence[Edits]],
) -> Float[Tensor, "conditions n"]:
    """`cross_entropy` under each of several edits; of several, blocks below the first that one edits are run once for all.

    A condition may have edits of its own for each prompt.

    Raises:
        NonFiniteError: as there.
    """
    out = torch.full((len(conditions), len(prompts)), torch.nan, dtype=torch.float64)
    order = [
        i
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(completions[i]))
        if len(completions[i])
    ]
    at_once = AT_ONCE if model.supports_padding else 1
    for begin in range(0, len(order), at_once):
        group = order[begin : begin + at_once]
        sequences = [(*prompts[i], *completions[i]) for i in group]
        under = [_together(model, edits, group) for edits in conditions]
        hidden = _hidden(model, sequences, torch.tensor(group), [len(prompts[i]) for i in group], under)
        said = [len(completions[i]) for i in group]
        tokens = torch.tensor([token for i in group for token in completions[i]])
        for which, states in enumerate(hidden):
            scored = torch.cat([states[row, -n - 1 : -1] for row, n in enumerate(said)])
            likely = _of_tokens(model, scored, tokens)
            for row, (i, some) in enumerate(zip(group, likely.split(said), strict=True)):
                out[which, i] = -some.mean()
                if not bool(out[which, i].isfinite()):
                    own = conditions[which]
                    alone = own if isinstance(own, Mapping) else own[i]
                    raise not_finite(model, sequences[row], alone, row=i, prompt_length=len(prompts[i]))
    return out


def _of_tokens(model: ChatModel, states: Float[Tensor, "n d_model"], tokens: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Log-probability of each token after its state; float64, on the CPU."""
    found = []
    at_once = STATES if model.memory is None else model.room["max_rows"]
    for some, those in zip(states.split(at_once), tokens.split(at_once), strict=True):
        with torch.no_grad():
            logits = lm_head(model, some)
        for values, mine in zip(logits.split(ROWS_AT_ONCE), those.split(ROWS_AT_ONCE), strict=True):
            found.append(wide(values).log_softmax(-1).cpu()[torch.arange(len(mine)), mine])
    return torch.cat(found)


def _together(model: ChatModel, edits: Edits | Sequence[Edits], group: Sequence[int]) -> Edits:
    """The edits of one pass over some prompts, each of which may have its own."""
    if isinstance(edits, Mapping):
        return edits
    members: dict[int, list[int]] = {}
    for row, i in enumerate(group):
        members.setdefault(id(edits[i]), []).append(row)
    own = {id(edits[i]): edits[i] for i in group}
    return per_row([(own[k], Group(torch.tensor(rows, device=model.device))) for k, rows in members.items()])


def _hidden(
    model: ChatModel, sequences: Sequence[TokenIds], rows: Tensor, lengths: Sequence[int], conditions: Sequence[Edits]
) -> Iterator[Float[Tensor, "rows seq d_model"]]:
    """Last hidden states of sequences, padded on the left, under each condition; `lengths` are those of their prompts."""
    ids, mask, context = left_padded(model, sequences, rows, torch.tensor(lengths))
    context = replace(context, length=mask.sum(-1))  # one pass over the whole, not as it was generated

    def run(edits: Edits, start: int = 0, residual: Tensor | None = None) -> Tensor:
        between = blocks_between(model, start, residual, BEYOND)
        with torch.no_grad(), declared(context), between, tap(model, edits):
            hidden: Tensor = run_model(model, ids, mask, context, bare=True, start=start)[0]
        return hidden

    kept: dict[int, Tensor] = {}
    starts = {first_layer(edits) for edits in conditions if edits} - {0} if _resumes(model, conditions) else set()

    def keep(layer: int) -> Read:
        return Read(lambda x, _context: kept.__setitem__(layer, x.clone()))

    unedited = run({Site("resid_pre", layer): keep(layer) for layer in starts}) if starts else None
    for edits in conditions:
        if not edits and unedited is not None:
            yield unedited
        elif edits and first_layer(edits) in kept:
            yield run(edits, first_layer(edits), kept[first_layer(edits)])
        else:
            yield run(edits)


def _resumes(model: ChatModel, conditions: Sequence[Edits]) -> bool:
    """Whether several conditions can begin where the unedited run first differs from them."""
    free = model.fast and not slow() and model.memory is None and not tapped(model.hf)
    return len(conditions) > 1 and free and not any(map(reads, (e for edits in conditions for e in edits.values())))
