"""Several conditions on the same prompts in one pass: the template is run as one row for each, the prompts as one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.model.dispatch import in_shares
from rhat.model.edits import Edits, first_layer
from rhat.model.forward import (
    Base,
    blocks_between,
    head,
    last_logits,
    last_token_only,
    last_tokens,
    reads,
    run_decoder,
    slow,
    touches_prefix,
)
from rhat.model.kv import KeyValue, prefix_cache, taken
from rhat.model.origin import check_logits
from rhat.model.plans import Plan
from rhat.model.positions import NEVER
from rhat.model.tap import declared, tap, tapped

if TYPE_CHECKING:
    from rhat.model.chat import ChatModel

Logits = tuple[int, Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]


def chunks(model: ChatModel, the_plan: Plan, conditions: Sequence[Edits]) -> list[range]:
    """Which conditions go together, as many as one pass has room for: neighbours that first touch the same layer, or that
    touch last prompt tokens only."""
    tokens = max(batch.ids.numel() for batch in the_plan.batches)
    rows = max(len(batch.ids) for batch in the_plan.batches)
    by_rows = max(1, 2 * model.room["max_rows"] // rows)
    most = max(1, min(by_rows, model.room["max_tokens"] // tokens))
    kinds = [-1 if last_token_only(edits, the_plan) else first_layer(edits) for edits in conditions]
    found: list[range] = []
    for index, kind in enumerate(kinds):
        last = found[-1] if found else range(0)
        if len(last) and kinds[last.start] == kind and len(last) < (by_rows if kind < 0 else most):
            found[-1] = range(last.start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


def last_logits_under(
    model: ChatModel, the_plan: Plan, conditions: Sequence[Edits], base: Base | None = None
) -> Iterator[Logits]:
    """Next-token logits after each prompt under each of several conditions, in the model's dtype: (which condition, which
    prompts, their logits).

    Equal to `last_logits` of each to 1e-9 relative in float64. One after the other where nothing is gained by more, or
    where an edit reads. The passes are as large as all conditions together: take `chunks`.
    """
    whole = base is not None and bool(base.suffix_kv)  # so that last prompt tokens can be run alone
    at_ends = [whole and last_token_only(edits, the_plan) for edits in conditions]
    together = len(conditions) > 1 and all(at_ends) == any(at_ends) and not any(map(_alone, conditions))
    if slow() or not model.fast or tapped(model.hf) or not together:
        for index, edits in enumerate(conditions):
            for rows, logits in last_logits(model, the_plan, edits, base):
                yield index, rows, logits
        return
    if base is not None and all(at_ends):
        for rows, every in last_tokens(model, the_plan, in_shares(conditions), base, len(conditions)):
            each = len(rows) // len(conditions)
            for index, part in enumerate(every.split(each)):
                check_logits(model, the_plan.prompts, rows[:each], part, conditions[index])
                yield index, rows[:each], part
        return
    n, n_layers = len(conditions), model.layout.n_layers
    begin = min(min(map(first_layer, conditions)), n_layers - 1)
    start = base.start(begin) if base is not None else 0
    with torch.no_grad():
        prefix_kv = _prefixes(model, the_plan, conditions, start, base) if the_plan.prefix_length else None
    for index, batch in enumerate(the_plan.batches):
        each = len(batch.ids)
        cache = prefix_cache(
            prefix_kv and [_for_each(kv, n, each) for kv in prefix_kv], the_plan.prefix_length, n_layers
        )
        context = batch.context.repeated(n)
        residual = base.residuals[index][start].repeat(n, 1, 1) if base is not None and start else None
        with (
            torch.no_grad(),
            declared(context),
            blocks_between(model, start, residual, NEVER),
            tap(model, in_shares(conditions)),
        ):
            keys = the_plan.prefix_length + batch.ids.shape[1]
            hidden = run_decoder(model, batch.ids.repeat(n, 1), context.positions, keys, cache)
            ends = (batch.lengths - 1).repeat(n).to(hidden.device)
            last = hidden[torch.arange(len(hidden), device=hidden.device), ends]
        for which, states in enumerate(last.split(each)):
            with torch.no_grad():
                logits = head(model, states)
            check_logits(model, the_plan.prompts, batch.rows, logits, conditions[which])
            yield which, batch.rows, logits


def _alone(edits: Edits) -> bool:
    return not edits or any(map(reads, edits.values()))


def _prefixes(
    model: ChatModel, the_plan: Plan, conditions: Sequence[Edits], start: int, base: Base | None
) -> list[KeyValue | None]:
    """Keys and values of the shared prefix, one row for each condition, or one for all in layers that none has changed."""
    if base is not None and base.prefix_kv is not None and not any(touches_prefix(e, the_plan) for e in conditions):
        return base.prefix_kv
    model.rotation.check_shared(the_plan)
    n, one = len(conditions), the_plan.prefix_context()
    cache = prefix_cache(None, 0, model.layout.n_layers)
    residual = base.prefix_residuals[start].repeat(n, 1, 1) if base is not None and start else None
    context = one.repeated(n)
    with (
        declared(context),
        blocks_between(model, start, residual, NEVER),
        tap(model, in_shares(conditions)),
    ):
        run_decoder(model, the_plan.prefix.repeat(n, 1), context.positions, the_plan.prefix_length, cache)
    new = taken(cache)
    if base is not None and base.prefix_kv is not None:
        new = [base.prefix_kv[i] if kv is None else kv for i, kv in enumerate(new)]
    return new


def _for_each(kv: KeyValue | None, n: int, rows: int) -> KeyValue | None:
    """A prefix's keys and values for the batch of n conditions: one row lends itself to all, n rows to `rows` each."""
    if kv is None or len(kv[0]) != n:
        return kv
    return kv[0].repeat_interleave(rows, 0), kv[1].repeat_interleave(rows, 0)
