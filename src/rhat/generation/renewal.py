"""Rows that outgrow their rotation: some models recompute them once instead of keeping keys that were turned as before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from rhat.generation.batchedits import batch_edits
from rhat.generation.rows import Row
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.kv import SlotCache
from rhat.model.passes import NO_ENDS, run_tokens
from rhat.model.positions import TokenContext


def renew(model: ChatModel, rows: Sequence[Row], slots: SlotCache, edits: Edits) -> None:
    """Fill the slots of rows whose coming token is the first beyond a length at which `hf.generate` lets go of its cache.

    Row i is in slot i. What the row holds so far is run again as part of a sequence of the new length. Such a row is run by
    itself: this happens to it once. `edits` are the engine's.
    """
    lengths = set(model.rotation.renewed)
    for slot, row in enumerate(rows):
        if row.length not in lengths or len(row.request.tokens) > row.length:
            continue
        device, n, request = model.device, row.length, row.request
        own = model.template_length if request.template_length is None else request.template_length
        context = TokenContext.for_prefix(n, len(request.tokens), own, request.row, device)
        context = replace(context, length=torch.tensor([n + 1], device=device))
        ids = torch.tensor([row.sequence[:n]], device=device)
        under = batch_edits(edits, [row], context)
        done = run_tokens(model, ids, context, under, ends=NO_ENDS)
        slots.put(slot, 0, None, done.new_kv, 0, n)
