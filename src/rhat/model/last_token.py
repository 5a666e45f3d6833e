"""Edits of the last prompt token alone, for which that token alone is run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.model.clean_run import CleanRun
from rhat.model.decoder import Decoder
from rhat.model.edits import Chain, Edit, Edits, Read, first_layer
from rhat.model.kv import SlotCache
from rhat.model.passes import lm_head, run_step
from rhat.model.plans import Plan
from rhat.model.positions import TokenContext


def reads(edit: Edit) -> bool:
    """Whether this edit reads, or a part of it does."""
    return any(map(reads, edit.edits)) if isinstance(edit, Chain) else isinstance(edit, Read)


def last_token_only(edits: Edits, plan: Plan) -> bool:
    """Whether these edits change nothing before each prompt's last token, and read nothing."""
    template = plan.template_length
    return bool(edits) and all(
        not reads(edit) and edit.first_position(length, length - template) >= length - 1
        for edit in edits.values()
        for length in {len(p) for p in plan.prompts}
    )


def last_tokens(
    model: Decoder, plan: Plan, edits: Edits, clean: CleanRun, times: int = 1
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]]:
    """Logits after each prompt, running its last token only: what comes before it is as the unedited model left it.

    With `times`, each batch holds that many copies of its rows, one after the other, for edits that tell them apart.
    """
    start = clean.start(min(first_layer(edits), model.layout.n_layers - 1))
    for index, batch in enumerate(plan.batches):
        slots = _full_prompts(model, plan, clean, index, times)
        row = torch.arange(len(batch.ids), device=batch.ids.device).repeat(times)
        column, lengths = (batch.lengths - 1).repeat(times), batch.context.prompt_length.repeat(times)
        context = TokenContext.for_step(lengths - 1, lengths, plan.template_length, batch.rows.repeat(times))
        used = plan.prefix_length + batch.ids.shape[1]
        residual = clean.residuals[index][start][row, column][:, None] if start else None
        tokens = batch.ids[row, column]
        hidden = run_step(model, tokens, context, slots, edits, start=start, residual=residual, used=used)
        with torch.no_grad():
            logits = lm_head(model, hidden)
        yield context.rows, logits


def _full_prompts(model: Decoder, plan: Plan, clean: CleanRun, index: int, times: int) -> SlotCache:
    """Keys and values of a batch's whole prompts. A run overwrites those of last tokens in every block that it runs."""
    if (index, times) not in clean.whole:
        batch = plan.batches[index]
        longest = plan.prefix_length + batch.ids.shape[1]
        slots = clean.whole[index, times] = SlotCache(model.layout.n_layers, times * len(batch.ids), longest)
        for copy in range(times):
            for row, length in enumerate(batch.lengths.tolist(), copy * len(batch.ids)):
                kept = clean.suffix_kv[index]
                slots.put(row, row % len(batch.ids), clean.prefix_kv, kept, plan.prefix_length, length)
    return clean.whole[index, times]
