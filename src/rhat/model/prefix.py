"""The shared prefix: the tokens that all prompts start with, run once for each intervention."""

from __future__ import annotations

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.model.decoder import Decoder
from rhat.model.edits import Edits, Read, merge
from rhat.model.kv import KeyValues
from rhat.model.passes import NO_ENDS, run_tokens
from rhat.model.plans import Plan
from rhat.model.positions import BEYOND, TokenContext
from rhat.model.tap import tapped

KEPT = 16  # prefixes of one cache


def touches_prefix(edits: Edits, plan: Plan) -> bool:
    """Whether these edits can change a token of the shared prefix in any row."""
    # Scopes such as the template count from a prompt's end, so where an edit begins depends on the prompt's length. It depends on
    # nothing else: each length is asked once.
    shared = plan.prefix_length
    return any(
        edit.first_position(length, length - plan.template_length) < shared
        for edit in edits.values()
        for length in {len(p) for p in plan.prompts}
    )


def run_prefix(
    model: Decoder,
    plan: Plan,
    edits: Edits,
    *,
    times: int = 1,
    start: int = 0,
    residual: Float[Tensor, "1 prefix d_model"] | None = None,
    below: KeyValues | None = None,
    stop: int = BEYOND,
) -> KeyValues:
    """Keys and values of a plan's shared prefix under `edits`, in `times` rows that edits may tell apart.

    `start`, `residual`, `below` and `stop` are those of `run_tokens`.
    """
    model.rotation.check_shared(plan)
    return run_tokens(
        model,
        plan.prefix.repeat(times, 1),
        plan.prefix_context().repeated(times),
        edits,
        start=start,
        residual=None if residual is None else residual.repeat(times, 1, 1),
        below=below,
        stop=stop,
        ends=NO_ENDS,
    ).new_kv


def reads_prefix(edits: Edits) -> bool:
    """Whether any of these only reads, so that it must see the prefix even where no edit changes that."""
    return any(edit.first_position(BEYOND, BEYOND) == BEYOND and isinstance(edit, Read) for edit in edits.values())


class PrefixCache:
    """Keys and values of prefixes under edits, for prompts that come one after the other; the latest few are kept.

    `edits` apply to all. Mappings of edits are told apart by identity, so one must not be changed while it is in use.
    """

    def __init__(self, model: Decoder, edits: Edits) -> None:
        self.model = model
        self.edits = edits
        # the mapping of edits is kept too: an id is that of another object once its own has gone
        self._kept: OrderedDict[tuple[int, int, tuple[int, ...]], tuple[Edits | None, KeyValues]] = OrderedDict()

    def get(self, prompt: tuple[int, ...], shared: int, template_length: int, own: Edits | None) -> KeyValues:
        """Those of a prompt's first `shared` tokens under `edits` and its own, each [1, kv_heads, shared, head_dim]."""
        model, length = self.model, len(prompt)
        # Edits that begin after the prefix leave it as the engine's own edits make it: all such prompts share one entry (0), so
        # that a request with edits of its own finds what another one has run.
        touching = any(e.first_position(length, length - template_length) < shared for e in (own or {}).values())
        # The same tokens have other keys in a longer prompt, where the model's rotation depends on the length.
        regime = int(model.rotation.regime(torch.tensor(length)))
        key = (id(own) if touching else 0, regime, prompt[:shared])
        known = self._kept.get(key)
        if known is not None and not tapped(model.hf):  # what is on from outside may be something else next time
            self._kept.move_to_end(key)
            return known[1]
        context = TokenContext.for_prefix(shared, length, template_length, device=model.device)
        ids = torch.tensor([prompt[:shared]], device=model.device)
        edits = merge(self.edits, own or {}) if touching else self.edits
        new = run_tokens(model, ids, context, edits, ends=NO_ENDS).new_kv
        self._kept[key] = (own, new)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return new
