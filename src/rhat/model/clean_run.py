"""The clean run: what the unedited model computed, kept so that edited runs can start where they first differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rhat.model.decoder import Decoder, slow
from rhat.model.edits import Edits, Read
from rhat.model.kv import KeyValues, SlotCache
from rhat.model.passes import NO_ENDS, run_tokens
from rhat.model.plans import Plan
from rhat.model.positions import BEYOND
from rhat.model.prefix import run_prefix
from rhat.reprs import one_line
from rhat.sites import Site


@dataclass(eq=False)
class CleanRun:
    """What the unedited model computed for a plan, kept so that edited runs can start where they first differ.

    residuals[layer] holds resid_pre.layer of the prefix and of every batch. Bytes: layers · tokens · d_model · itemsize.
    """

    prefix_kv: KeyValues | None
    prefix_residuals: dict[int, Tensor] = field(default_factory=dict)
    residuals: list[dict[int, Tensor]] = field(default_factory=list)
    suffix_kv: list[KeyValues] = field(default_factory=list)
    # (batch, times) → keys and values of whole prompts
    whole: dict[tuple[int, int], SlotCache] = field(default_factory=dict)

    __repr__ = one_line

    def start(self, layer: int) -> int:
        """The highest kept layer from which a run that first differs at `layer` can start; 0 if none."""
        return max((kept for kept in self.prefix_residuals if kept <= layer), default=0)


def cache_clean_run(model: Decoder, plan: Plan, layers: Sequence[int], *, keep_kv: bool = False) -> CleanRun:
    """Run the unedited model over a plan and keep resid_pre of `layers`, so that edits there need not run what is below.

    Blocks above are run only for the prefix, whose keys and values edited runs need, and with `keep_kv`, which keeps each prompt's.
    Keeps nothing where the plain path is taken, and fewer layers, or nothing, where main memory is limited.
    """
    clean = CleanRun(None)
    layers = _affordable(model, plan, layers)
    if slow() or not model.fast or not layers:
        return clean
    wanted = [Site("resid_pre", layer) for layer in layers]

    def keeper(into: dict[int, Tensor]) -> Edits:
        def keep(layer: int) -> Read:
            return Read(lambda x, _context: into.__setitem__(layer, x.clone()))

        return {site: keep(site.layer) for site in wanted}

    if plan.prefix_length:
        clean.prefix_kv = run_prefix(model, plan, keeper(clean.prefix_residuals))
    else:
        clean.prefix_residuals = {layer: torch.empty(0) for layer in layers}
    for batch in plan.batches:
        kept: dict[int, Tensor] = {}
        done = run_tokens(
            model,
            batch.ids,
            batch.context,
            keeper(kept),
            prefix_kv=clean.prefix_kv,
            prefix_length=plan.prefix_length,
            stop=BEYOND if keep_kv else max(layers),
            ends=NO_ENDS,
        )
        clean.residuals.append(kept)
        if keep_kv:
            clean.suffix_kv.append(done.new_kv)
    return clean


def _affordable(model: Decoder, plan: Plan, layers: Sequence[int]) -> Sequence[int]:
    """As many of these layers, evenly chosen, as a sixteenth of the memory that the model may take can hold."""
    if model.memory is None:
        return layers
    tokens = plan.prefix_length + sum(batch.ids.numel() for batch in plan.batches)
    n = model.memory // 16 // (tokens * model.d_model * model.dtype.itemsize)
    return layers if n >= len(layers) else [layers[i * len(layers) // n] for i in range(n)]
