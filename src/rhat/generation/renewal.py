"""Rows that outgrow their rotation: some models run them anew once, instead of going on with keys turned as before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch

from rhat.generation.rows import Row
from rhat.model.chat import ChatModel
from rhat.model.forward import run_decoder
from rhat.model.kv import SlotCache, prefix_cache, taken
from rhat.model.positions import TokenContext
from rhat.model.tap import declared


def renew(
    model: ChatModel,
    rows: Sequence[Row],
    slots: SlotCache,
    tap: Callable[[Sequence[Row], TokenContext], AbstractContextManager],
) -> None:
    """Fill the slots of rows whose coming token is the first beyond a length at which `hf.generate` lets go of its cache.

    Row i is in slot i. What the row holds so far is run again as part of a sequence of the new length. Such a row is run by
    itself: this happens to it once.
    """
    lengths = set(model.rotation.renewed)
    for slot, row in enumerate(rows):
        if row.length not in lengths or len(row.request.tokens) > row.length:
            continue
        device, n = model.device, row.length
        own = row.request.template_length
        prompt = torch.tensor([len(row.request.tokens)], device=device)
        context = TokenContext(
            positions=torch.arange(n, device=device)[None],
            real=torch.ones(1, n, dtype=torch.bool, device=device),
            prompt_length=prompt,
            template_start=prompt - (model.template_length if own is None else own),
            rows=torch.tensor([row.request.row], device=device),
            padded=False,
            length=torch.tensor([n + 1], device=device),
        )
        cache = prefix_cache(None, 0, model.layout.n_layers)
        ids = torch.tensor([row.sequence[:n]], device=device)
        with declared(context), tap([row], context):
            run_decoder(model, ids, context.positions, n, cache)
        slots.put(slot, 0, None, taken(cache), 0, n)
