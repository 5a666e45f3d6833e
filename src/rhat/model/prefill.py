"""Prefill: every batch of a plan run after the shared prefix, from the first edited block on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rhat.model.clean_run import CleanRun
from rhat.model.decoder import Decoder
from rhat.model.edits import Edits, first_layer
from rhat.model.kv import KeyValues
from rhat.model.passes import run_tokens
from rhat.model.plans import Batch, Plan
from rhat.model.positions import BEYOND
from rhat.model.prefix import reads_prefix, run_prefix, touches_prefix
from rhat.model.tap import tapped


@dataclass(frozen=True, eq=False)
class Prefilled:
    """One batch after its forward pass: the last position's hidden states, and what a decoder needs to go on."""

    index: int
    batch: Batch
    hidden: Float[Tensor, "rows d_model"]
    prefix_kv: KeyValues | None
    new_kv: KeyValues


def prefill(
    model: Decoder, plan: Plan, edits: Edits | None = None, clean: CleanRun | None = None, stop: int = BEYOND
) -> Iterator[Prefilled]:
    """Run every batch of a plan under `edits`, fast; yields batches as they are done.

    With `clean` the run starts at the highest kept layer that no edit precedes. With `stop` it ends at the input of that
    block, and the hidden states that are yielded mean nothing.
    """
    edits = edits or {}
    begin = min(first_layer(edits), model.layout.n_layers - 1)
    clean = None if tapped(model.hf) else clean  # an intervention is on: what the plain model computed does not hold
    start = clean.start(begin) if clean is not None else 0
    prefix_kv = _prefix(model, plan, edits, clean, start, stop) if plan.prefix_length else None
    for index, batch in enumerate(plan.batches):
        done = run_tokens(
            model,
            batch.ids,
            batch.context,
            edits,
            prefix_kv=prefix_kv,
            prefix_length=plan.prefix_length,
            start=start,
            residual=clean.residuals[index].get(start) if clean is not None and start else None,
            below=clean.suffix_kv[index] if clean is not None and clean.suffix_kv else None,
            stop=stop,
            ends=batch.lengths,
        )
        yield Prefilled(index, batch, done.last(batch.lengths), prefix_kv, done.new_kv)


def _prefix(model: Decoder, plan: Plan, edits: Edits, clean: CleanRun | None, start: int, stop: int) -> KeyValues:
    """The shared prefix under `edits`: the clean run's where they leave it alone."""
    if clean is None or clean.prefix_kv is None:
        return run_prefix(model, plan, edits, stop=stop)
    if touches_prefix(edits, plan):
        residual = clean.prefix_residuals.get(start)
        return run_prefix(model, plan, edits, start=start, residual=residual, below=clean.prefix_kv, stop=stop)
    if reads_prefix(edits):
        run_prefix(model, plan, edits, stop=stop)
    return clean.prefix_kv
