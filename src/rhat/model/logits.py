"""The fast path: shared-prefix cache, resuming from a layer, last-position logits, batching by length.

A chat prompt is mostly template, so the tokens that all prompts start with are run once per intervention. Batches are
padded on the right: causal attention then needs no padding mask, and every row keeps its own positions. MLPs leave the
padding out. Layers below the first edited one are not run again when their outputs were kept. Only the last position meets
the vocabulary.

`RHAT_SLOW=1` runs the plain path instead: full prompts, left padding, every position's logits, nothing shared.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.model.clean_run import CleanRun
from rhat.model.decoder import Decoder, slow
from rhat.model.edits import Edits
from rhat.model.last_token import last_token_only, last_tokens
from rhat.model.origin import check_logits
from rhat.model.passes import lm_head
from rhat.model.plain import plain_last_logits
from rhat.model.plans import Plan
from rhat.model.prefill import prefill
from rhat.model.tap import tapped


def last_logits(
    model: Decoder, plan: Plan, edits: Edits | None = None, clean: CleanRun | None = None
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]]:
    """Next-token logits after each prompt, batch by batch: (which prompts, their logits), in the model's dtype.

    Equal to the plain path's to 1e-9 relative in float64. Falls back to the plain path where the model's attention cannot
    take our masks (see `Decoder.fast`) or RHAT_SLOW=1 asks for it. With a `clean` that kept keys and values, edits of the
    last prompt token alone run that token alone.

    Raises:
        NonFiniteError: if a row's logits are no distribution, saying where that began.
    """
    for rows, logits in _last_logits(model, plan, edits, clean):
        check_logits(model, plan.prompts, rows, logits, edits)
        yield rows, logits


def _last_logits(
    model: Decoder, plan: Plan, edits: Edits | None, clean: CleanRun | None
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]]:
    if slow() or not model.fast:
        yield from plain_last_logits(model, plan, edits)
        return
    if clean is not None and clean.suffix_kv and not tapped(model.hf) and last_token_only(edits or {}, plan):
        yield from last_tokens(model, plan, edits or {}, clean)
        return
    for done in prefill(model, plan, edits, clean):
        with torch.no_grad():
            logits = lm_head(model, done.hidden)
        yield done.batch.rows, logits


def run_until(
    model: Decoder, plan: Plan, edits: Edits, stop: int, clean: CleanRun | None = None
) -> Iterator[Int[Tensor, " rows"]]:
    """Run every batch for what `edits` read and no further than the input of block `stop`; yields which prompts ran. With `clean` it
    begins at the highest kept layer that no edit and no reading precedes.

    The plain path, where it is taken, runs to the end.
    """
    if slow() or not model.fast:
        for rows, _ in plain_last_logits(model, plan, edits):
            yield rows
        return
    for done in prefill(model, plan, edits, clean, stop=stop):
        yield done.batch.rows
