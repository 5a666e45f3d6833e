"""The trial that decides whether a model can be run by the fast path, and how: its logits against those of the plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.model.finite import distance, faulty
from rhat.model.forward import head, left_padded, plain_last_positions, prefill, run_decoder
from rhat.model.kv import MaskForm, SlotCache
from rhat.model.origin import not_finite
from rhat.model.plans import TokenIds
from rhat.model.positions import TokenContext
from rhat.model.tap import declared

if TYPE_CHECKING:
    from rhat.model.chat import ChatModel

FORMS: tuple[MaskForm, ...] = ("pairs", "keys")


@dataclass(frozen=True)
class FastPath:
    """Whether a model can be run by the fast path.

    mask    the form in which it takes our attention mask; None: it must be run by the plain path
    reason  why it must
    pads    whether the plain path may pad prompts on the left; tried only where it is needed
    """

    mask: MaskForm | None
    reason: str = ""
    pads: bool = True


class _Trusted:
    """A model whose fast path is taken without asking: for the very trial that decides it."""

    fast = True

    def __init__(self, model: ChatModel, mask_form: MaskForm) -> None:
        self._model = model
        self.mask_form = mask_form

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def try_fast_path(model: ChatModel, prompts: Sequence[TokenIds], token: int) -> FastPath:
    """Compare the fast path's logits with those of each prompt run plainly and alone: after the prompt, and after `token`.

    Each form of mask is tried in turn. Nothing is tried where a token's rotation depends on what is run beside it.

    Raises:
        NonFiniteError: if the plain logits are no distribution.
    """
    if model.rotation.fault:
        return FastPath(None, model.rotation.fault, pads=False)
    limit = {torch.float64: 1e-6, torch.float32: 1e-3}.get(model.dtype, 0.05)  # a wrong mask or position is far beyond
    lengths = torch.tensor([len(p) for p in prompts])
    both = [  # after the prompt, and after the token that follows it: the last two positions of one pass
        plain_last_positions(
            model, *left_padded(model, [(*p, token)], torch.tensor([i]), lengths[i : i + 1]), None, last=2
        )
        for i, p in enumerate(prompts)
    ]
    alone = torch.cat(both).double().transpose(0, 1).flatten(0, 1)
    for i in faulty(alone).nonzero().flatten().tolist():
        i %= len(prompts)
        raise not_finite(model, (*prompts[i], token), row=i, prompt_length=len(prompts[i]))
    reasons = []
    for form in FORMS:
        try:
            quick = prompt_and_next(_Trusted(model, form), prompts, token)  # type: ignore[arg-type]
        except Exception as error:  # whatever a model does with masks and caches that it does not know
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
            continue
        gap = distance(quick, alone)
        if gap < limit:
            return FastPath(form)
        reasons.append(
            "its logits are not finite" if bool(faulty(quick).any()) else f"its logits differ by {gap:.1e} relative"
        )
    ids, mask, context = left_padded(model, prompts, torch.arange(len(prompts)))
    padded = plain_last_positions(model, ids, mask, context, None)[:, -1].double()
    pads = distance(padded, alone[: len(prompts)]) < max(limit, 1e-3)
    return FastPath(None, "; ".join(dict.fromkeys(reasons)), pads)


def prompt_and_next(model: ChatModel, prompts: Sequence[TokenIds], token: int) -> Float[Tensor, "two_rows vocab"]:
    """Logits after each prompt, then after each prompt and `token`, by prefill and one step of decoding; float64."""
    the_plan = model.lay_out(prompts)
    slots = SlotCache(model.layout.n_layers, len(prompts), max(len(p) for p in prompts) + 1)
    first: dict[int, Tensor] = {}
    for done in prefill(model, the_plan):
        logits = head(model, done.hidden)
        for at, row in enumerate(done.batch.rows.tolist()):
            first[row] = logits[at]
            slots.put(row, at, done.prefix_kv, done.new_kv, the_plan.prefix_length, int(done.batch.lengths[at]))
    positions = torch.tensor([len(p) for p in prompts], device=model.device)
    context = TokenContext(
        positions=positions[:, None],
        real=torch.ones(len(prompts), 1, dtype=torch.bool, device=model.device),
        prompt_length=positions,
        template_start=positions - model.template_length,
        rows=torch.arange(len(prompts), device=model.device),
        padded=False,
    )
    slots.at(positions, int(positions.max()) + 1)
    ids = torch.full((len(prompts), 1), token, device=model.device)
    with torch.no_grad(), declared(context):
        hidden = run_decoder(model, ids, positions[:, None], slots.used, slots)[:, -1]
        return torch.cat([*(first[i][None] for i in range(len(prompts))), head(model, hidden)]).double()
