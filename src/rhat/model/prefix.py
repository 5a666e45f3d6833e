"""The shared prefix: the tokens that all prompts start with, run once for each intervention."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.model.decoder import Decoder
from rhat.model.dispatch import in_shares
from rhat.model.edits import Edits, Read, first_layer, merge
from rhat.model.kv import KeyValues
from rhat.model.passes import NO_ENDS, run_tokens
from rhat.model.plans import Plan
from rhat.model.positions import BEYOND, TokenContext
from rhat.model.tap import tapped
from rhat.reprs import one_line
from rhat.sites import Site

KEPT = 16  # prefixes of one cache, whatever they take
BYTES = 2**27  # of keys and values up to which more are kept; blocks that several share are counted for each
_Key = tuple[int, int, tuple[int, ...]]  # id of the edits or 0, regime of the rotation, tokens


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


@dataclass(frozen=True, eq=False)
class Wanted:
    """A prompt whose first tokens are wanted, and the edits that are its own."""

    prompt: tuple[int, ...]
    template_length: int
    own: Edits | None

    __repr__ = one_line


class PrefixCache:
    """Keys and values of prefixes under edits, for prompts that come one after the other; the latest few are kept, and more while
    they take little memory.

    `edits` apply to all. Mappings of edits are told apart by identity, so one must not be changed while it is in use. Blocks below
    the first edited one are run once for each prefix, and edits that begin at the same block in one pass.
    """

    def __init__(self, model: Decoder, edits: Edits) -> None:
        self.model = model
        self.edits = edits
        # the mapping of edits is kept too: an id is that of another object once its own has gone
        self._kept: OrderedDict[_Key, tuple[Edits | None, KeyValues]] = OrderedDict()
        self._below: OrderedDict[tuple[int, tuple[int, ...], int], tuple[Tensor, KeyValues]] = OrderedDict()
        self._bytes = 0

    def get(self, wanted: Sequence[Wanted], shared: int) -> list[KeyValues]:
        """Those of the first `shared` tokens of each prompt under `edits` and its own, each [1, kv_heads, shared, head_dim]."""
        keys = [self._key(one, shared) for one in wanted]
        on = tapped(self.model.hf)  # what is on from outside may be something else next time
        found: dict[_Key, KeyValues] = {}
        missing: dict[tuple[int, int, tuple[int, ...]], dict[_Key, Wanted]] = {}
        for key, one in zip(keys, wanted, strict=True):
            if not on and key in self._kept:
                self._kept.move_to_end(key)
                found[key] = self._kept[key][1]
            elif key not in found:
                edits = self._edits(key, one)
                start = 0 if on else min(first_layer(edits), self.model.n_layers - 1) if edits else 0
                missing.setdefault((start, *key[1:]), {})[key] = one
        most = 1 if on else max(1, self.model.room["max_tokens"] // shared)
        for (start, *_), some in missing.items():
            together = list(some.items())
            for part in (together[i : i + most] for i in range(0, len(together), most)):
                for (key, one), new in zip(part, self._run(part, shared, start), strict=True):
                    found[key] = new
                    self._keep(key, one.own, new)
        return [found[key] for key in keys]

    def _key(self, one: Wanted, shared: int) -> _Key:
        length = len(one.prompt)
        # Edits that begin after the prefix leave it as the engine's own edits make it: all such prompts share one entry (0), so
        # that a request with edits of its own finds what another one has run.
        touching = any(
            e.first_position(length, length - one.template_length) < shared for e in (one.own or {}).values()
        )
        # The same tokens have other keys in a longer prompt, where the model's rotation depends on the length.
        regime = int(self.model.rotation.regime(torch.tensor(length)))
        return id(one.own) if touching else 0, regime, one.prompt[:shared]

    def _edits(self, key: _Key, one: Wanted) -> Edits:
        return merge(self.edits, one.own or {}) if key[0] else self.edits

    def _run(self, part: Sequence[tuple[_Key, Wanted]], shared: int, start: int) -> list[KeyValues]:
        """One pass over a prefix under several edits that all begin at block `start`."""
        model, (key, first) = self.model, part[0]
        context = TokenContext.for_prefix(shared, len(first.prompt), first.template_length, device=model.device)
        ids = torch.tensor([first.prompt[:shared]], device=model.device)
        residual, below = self._unedited(key, ids, context, start) if start else (None, None)
        edits = [self._edits(*one) for one in part]
        n = len(part)
        new = run_tokens(
            model,
            ids.repeat(n, 1),
            context.repeated(n) if n > 1 else context,
            in_shares(edits) if n > 1 else edits[0],
            start=start,
            residual=None if residual is None else residual.repeat(n, 1, 1),
            ends=NO_ENDS,
        ).new_kv
        under = [None] * len(new) if below is None else below
        return [
            [
                low if kv is None else (kv[0][i : i + 1].clone(), kv[1][i : i + 1].clone())
                for kv, low in zip(new, under, strict=True)
            ]
            for i in range(n)
        ]

    def _unedited(
        self, key: _Key, ids: Int[Tensor, "1 prefix"], context: TokenContext, start: int
    ) -> tuple[Tensor, KeyValues]:
        """What the unedited blocks below `start` give for a prefix: resid_pre of `start`, keys and values."""
        at = (*key[1:], start)
        if at not in self._below:
            kept: list[Tensor] = []
            reader: Edits = {Site("resid_pre", start): Read(lambda x, _context: kept.append(x.clone()))}
            done = run_tokens(self.model, ids, context, reader, stop=start)
            self._below[at] = kept[0], done.new_kv
            if len(self._below) > KEPT:
                self._below.popitem(last=False)
        return self._below[at]

    def _keep(self, key: _Key, own: Edits | None, new: KeyValues) -> None:
        if key in self._kept:
            self._bytes -= _size(self._kept.pop(key)[1])
        self._kept[key] = own, new
        self._bytes += _size(new)
        most = BYTES if self.model.memory is None else 0
        while len(self._kept) > KEPT and self._bytes > most:
            self._bytes -= _size(self._kept.popitem(last=False)[1][1])


def _size(kv: KeyValues) -> int:
    return sum(x.numel() * x.element_size() for pair in kv if pair is not None for x in pair)
