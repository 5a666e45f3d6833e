"""Several conditions on the same prompts in one pass: the template is run as one row for each, the prompts as one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.model.clean_run import CleanRun
from rhat.model.decoder import Decoder, slow
from rhat.model.dispatch import in_shares
from rhat.model.edits import Edits, first_layer
from rhat.model.kv import KeyValue, KeyValues
from rhat.model.last_token import last_token_only, last_tokens, reads
from rhat.model.logits import last_logits
from rhat.model.origin import check_logits
from rhat.model.passes import lm_head, run_tokens
from rhat.model.plans import Plan
from rhat.model.prefix import run_prefix, touches_prefix
from rhat.model.tap import tapped

Logits = tuple[int, Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]


def chunks(model: Decoder, plan: Plan, conditions: Sequence[Edits]) -> list[range]:
    """Which conditions go together, as many as one pass has room for: neighbours that first touch the same layer, or that
    touch last prompt tokens only."""
    tokens = max(batch.ids.numel() for batch in plan.batches)
    rows = max(len(batch.ids) for batch in plan.batches)
    by_rows = max(1, 2 * model.room["max_rows"] // rows)
    most = max(1, min(by_rows, model.room["max_tokens"] // tokens))
    # A pass starts at the lowest layer that any of its conditions touches, so those that start higher would run blocks for
    # nothing. Conditions on last tokens (−1) run one token a row: rows alone bound how many go together.
    kinds = [-1 if last_token_only(edits, plan) else first_layer(edits) for edits in conditions]
    found: list[range] = []
    for index, kind in enumerate(kinds):
        last = found[-1] if found else range(0)
        if len(last) and kinds[last.start] == kind and len(last) < (by_rows if kind < 0 else most):
            found[-1] = range(last.start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


def last_logits_under(
    model: Decoder, plan: Plan, conditions: Sequence[Edits], clean: CleanRun | None = None
) -> Iterator[Logits]:
    """Next-token logits after each prompt under each of several conditions, in the model's dtype: (which condition, which
    prompts, their logits).

    Equal to `last_logits` of each to 1e-9 relative in float64. One after the other where nothing is gained by more, or
    where an edit reads. The passes are as large as all conditions together: take `chunks`.
    """
    whole = clean is not None and bool(clean.suffix_kv)  # so that last prompt tokens can be run alone
    # All or none: a pass runs either whole prompts or last tokens, and a mixture would run whole prompts for all.
    at_ends = [whole and last_token_only(edits, plan) for edits in conditions]
    together = len(conditions) > 1 and all(at_ends) == any(at_ends) and not any(map(_alone, conditions))
    # Interventions that are on from outside see the plan's own batches, not each prompt once for every condition.
    if slow() or not model.fast or tapped(model.hf) or not together:
        for index, edits in enumerate(conditions):
            for rows, logits in last_logits(model, plan, edits, clean):
                yield index, rows, logits
        return
    if clean is not None and all(at_ends):
        for rows, every in last_tokens(model, plan, in_shares(conditions), clean, len(conditions)):
            each = len(rows) // len(conditions)
            for index, part in enumerate(every.split(each)):
                check_logits(model, plan.prompts, rows[:each], part, conditions[index])
                yield index, rows[:each], part
        return
    n, edits = len(conditions), in_shares(conditions)
    begin = min(min(map(first_layer, conditions)), model.layout.n_layers - 1)
    start = clean.start(begin) if clean is not None else 0
    prefix_kv = _prefixes(model, plan, conditions, start, clean) if plan.prefix_length else None
    # One copy of the batch for each condition, side by side; `in_shares` lets each copy see its own condition's edits alone.
    for index, batch in enumerate(plan.batches):
        each = len(batch.ids)
        done = run_tokens(
            model,
            batch.ids.repeat(n, 1),
            batch.context.repeated(n),
            edits,
            prefix_kv=prefix_kv and [_for_each(kv, n, each) for kv in prefix_kv],
            prefix_length=plan.prefix_length,
            start=start,
            residual=clean.residuals[index][start].repeat(n, 1, 1) if clean is not None and start else None,
            ends=batch.lengths.repeat(n),
        )
        # The head is run for one condition at a time: logits of all at once would be the largest tensor of the pass.
        for which, states in enumerate(done.last(batch.lengths.repeat(n)).split(each)):
            with torch.no_grad():
                logits = lm_head(model, states)
            check_logits(model, plan.prompts, batch.rows, logits, conditions[which])
            yield which, batch.rows, logits


def _alone(edits: Edits) -> bool:
    """Whether a condition takes no part in a common pass: it edits nothing, or it reads, and must see each prompt once."""
    return not edits or any(map(reads, edits.values()))


def _prefixes(model: Decoder, plan: Plan, conditions: Sequence[Edits], start: int, clean: CleanRun | None) -> KeyValues:
    """Keys and values of the shared prefix, one row for each condition, or one for all in layers that none has changed."""
    below = None if clean is None else clean.prefix_kv
    if below is not None and not any(touches_prefix(edits, plan) for edits in conditions):
        return below
    return run_prefix(
        model,
        plan,
        in_shares(conditions),
        times=len(conditions),
        start=start,
        residual=clean.prefix_residuals[start] if clean is not None and start else None,
        below=below,
    )


def _for_each(kv: KeyValue | None, n: int, rows: int) -> KeyValue | None:
    """A prefix's keys and values for the batch of n conditions: one row lends itself to all, n rows to `rows` each."""
    if kv is None or len(kv[0]) != n:
        return kv
    return kv[0].repeat_interleave(rows, 0), kv[1].repeat_interleave(rows, 0)
