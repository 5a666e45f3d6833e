"""The trial that decides whether a model can be run by the fast path, and how: its logits against those of the plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.model.decoder import Decoder, Execution
from rhat.model.finite import distance, faulty
from rhat.model.kv import MaskForm, SlotCache
from rhat.model.origin import not_finite
from rhat.model.passes import lm_head, run_step
from rhat.model.plain import left_padded, plain_last_positions
from rhat.model.plans import TokenIds
from rhat.model.positions import TokenContext
from rhat.model.precision import wide
from rhat.model.prefill import prefill
from rhat.model.work import counting

FORMS: tuple[MaskForm, ...] = ("4d", "2d")


@counting(apart=True)  # of no stage's work: it is done once, whenever it is first needed
def try_fast_path(model: Decoder, prompts: Sequence[TokenIds], token: int) -> Execution:
    """Compare the fast path's logits with those of each prompt run plainly and alone: after the prompt, and after `token`.

    Each form of mask is tried in turn. Nothing is tried where a token's rotation depends on what is run beside it.

    Raises:
        NonFiniteError: if the plain logits are no distribution.
    """
    if model.rotation.fault:
        return Execution(None, model.rotation.fault, supports_padding=False)
    limit = {torch.float64: 1e-6, torch.float32: 1e-3}.get(model.dtype, 0.05)  # a wrong mask or position is far beyond
    lengths = torch.tensor([len(p) for p in prompts])
    # The truth is each prompt by itself, without padding, cache or mask of ours: nothing that the fast path could get wrong.
    both = [  # after the prompt, and after the token that follows it: the last two positions of one pass
        plain_last_positions(
            model, *left_padded(model, [(*p, token)], torch.tensor([i]), lengths[i : i + 1]), None, last=2
        )
        for i, p in enumerate(prompts)
    ]
    alone = wide(torch.cat(both)).transpose(0, 1).flatten(0, 1)
    for i in faulty(alone).nonzero().flatten().tolist():
        i %= len(prompts)
        raise not_finite(model, (*prompts[i], token), row=i, prompt_length=len(prompts[i]))
    reasons = []
    for form in FORMS:
        # A copy that is told its way: asking this model for its own would start this trial again.
        try:
            quick = prompt_and_next(replace(model, way=Execution(form)), prompts, token)
        except Exception as error:  # whatever a model does with masks and caches that it does not know
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
            continue
        gap = distance(quick, alone)
        if gap < limit:
            return Execution(form)
        reasons.append(
            "its logits are not finite" if bool(faulty(quick).any()) else f"its logits differ by {gap:.1e} relative"
        )
    ids, mask, context = left_padded(model, prompts, torch.arange(len(prompts)))
    padded = wide(plain_last_positions(model, ids, mask, context, None)[:, -1])
    pads = distance(padded, alone[: len(prompts)]) < max(limit, 1e-3)
    return Execution(None, "; ".join(dict.fromkeys(reasons)), pads)


def prompt_and_next(model: Decoder, prompts: Sequence[TokenIds], token: int) -> Float[Tensor, "two_rows vocab"]:
    """Logits after each prompt, then after each prompt and `token`, by prefill and one step of decoding; float64."""
    # Prompts of unequal length in one batch show a wrong mask or position at once. The step after them shows what prefill cannot:
    # keys written to the wrong slot, windows that slide, positions that a family counts from the cache.
    plan = model.lay_out(prompts)
    slots = SlotCache(model.layout.n_layers, len(prompts), max(len(p) for p in prompts) + 1)
    first: dict[int, Tensor] = {}
    for done in prefill(model, plan):
        with torch.no_grad():
            logits = lm_head(model, done.hidden)
        for at, row in enumerate(done.batch.rows.tolist()):
            first[row] = logits[at]
            slots.put(row, at, done.prefix_kv, done.new_kv, plan.prefix_length, int(done.batch.lengths[at]))
    lengths = torch.tensor([len(p) for p in prompts], device=model.device)
    rows = torch.arange(len(prompts), device=model.device)
    context = TokenContext.for_step(lengths, lengths, model.template_length, rows)
    hidden = run_step(model, torch.full_like(lengths, token), context, slots, {})
    with torch.no_grad():
        return wide(torch.cat([*(first[i][None] for i in range(len(prompts))), lm_head(model, hidden)]))
