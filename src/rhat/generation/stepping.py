"""One step of all rows: where rows have said the same so far, blocks below their first edit run once for all of them.

Conditions that edit late give one prompt the same answer for a while, often to its end. Greedy or drawn, what a block gives
depends on the tokens so far and on the edits up to it, so nothing changes but which rows are run together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.generation.batchedits import batch_edits
from rhat.generation.prefilling import template_lengths
from rhat.generation.renewal import renew
from rhat.generation.rows import Row
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits, first_layer
from rhat.model.kv import Lent, SlotCache
from rhat.model.passes import run_step, run_step_below
from rhat.model.positions import TokenContext
from rhat.model.tap import tapped

LEAST_SAVED = 0.05  # share of a step's blocks from which on running it in two parts is worth it


def decoded(model: ChatModel, rows: Sequence[Row], slots: SlotCache, edits: Edits) -> Float[Tensor, "rows d_model"]:
    """Last hidden states of all rows after their newest tokens; row i is in slot i, and `edits` are the engine's."""
    device = model.device
    lengths = [row.length for row in rows]
    used = max(lengths) + 1
    context = TokenContext.for_step(
        torch.tensor(lengths, device=device),
        torch.tensor([len(row.request.tokens) for row in rows], device=device),
        template_lengths(model, rows).to(device),
        torch.tensor([row.request.row for row in rows], device=device),
        aligned=len(set(lengths)) == 1,
    )
    renew(model, rows, slots, edits)
    newest = torch.tensor([row.generated[-1] for row in rows], device=device)
    all_edits = batch_edits(edits, rows, context)
    start, who = sharing(model, rows, edits)
    if not start:
        return run_step(model, newest, context, slots, all_edits, used=used)
    first = {unique: row for row, unique in reversed(list(enumerate(who)))}
    runs = [first[unique] for unique in range(len(first))]
    lent = Lent(torch.tensor(runs, device=device), torch.tensor(who, device=device))
    some = context.select(lent.runs)
    own = batch_edits(edits, [rows[i] for i in runs], some)
    residual = run_step_below(
        model,
        newest[lent.runs],
        some,
        slots,
        own,
        stop=start,
        lent=lent,
        positions=context.positions,
        used=used,
    )
    above = {site: edit for site, edit in all_edits.items() if site.layer >= start}
    return run_step(model, newest, context, slots, above, start=start, residual=residual, used=used)


def sharing(model: ChatModel, rows: Sequence[Row], edits: Edits) -> tuple[int, list[int]]:
    """The block below which rows share what is computed, and which of the different ones each row is; 0 where none do.

    Rows share that hold the same tokens and that nothing edits or reads below it.
    """
    # An intervention from outside, or a probe, may act or read below: such rows run every block.
    if len(rows) < 2 or tapped(model.hf):
        return 0, []
    ours, last = first_layer(edits), model.layout.n_layers - 1
    begins = [
        0 if row.request.probe is not None else min(ours, first_layer(row.request.edits or {}), last) for row in rows
    ]
    said: dict[object, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if begins[i] > 0:
            said[row.request.tokens, tuple(row.generated)].append(i)
    groups = [members for members in said.values() if len(members) > 1]

    def saved(start: int) -> int:
        return start * sum(max(0, sum(begins[i] >= start for i in members) - 1) for members in groups)

    start = max(sorted({begins[i] for members in groups for i in members}), key=saved, default=0)
    if not start or saved(start) < LEAST_SAVED * len(rows) * model.layout.n_layers:
        return 0, []
    heads: dict[int, int] = {}
    for members in groups:
        late = [i for i in members if begins[i] >= start]
        heads |= dict.fromkeys(late, late[0] if late else 0)
    number: dict[int, int] = {}
    return start, [number.setdefault(heads.get(i, i), len(number)) for i in range(len(rows))]
