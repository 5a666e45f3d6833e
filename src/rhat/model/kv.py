"""Key-value caches of the fast path: one prefix shared by all rows, and slots that rows join and leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

MaskForm = Literal["4d", "2d"]
KeyValue = tuple[Tensor, Tensor]  # each [rows, kv_heads, seq, head_dim]
KeyValues = list[KeyValue | None]  # of each layer; None where it did not run


class PrefixLayer(DynamicLayer):
    """One layer's cache that holds a prefix of one row and lends it to every row of a batch."""

    def __init__(self, prefix: KeyValue | None, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.prefix = prefix
        self.length = length
        self.new: KeyValue | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> KeyValue:
        """Remember the new keys and values; return them after the shared prefix."""
        self.new = (key_states, value_states)
        if self.prefix is None:
            return self.new
        return (_after(self.prefix[0], key_states), _after(self.prefix[1], value_states))

    def get_seq_length(self) -> int:
        """Length of the prefix, known even for layers that did not run."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys to attend to, and their offset."""
        return self.length + query_length, 0


def _after(prefix: Tensor, new: Tensor) -> Tensor:
    return torch.cat([prefix.expand(len(new), -1, -1, -1), new], dim=-2)


def prefix_cache(prefix: KeyValues | None, length: int, n_layers: int) -> Cache:
    """A cache whose layers start with `prefix`, of `length` tokens."""
    return Cache(layers=[PrefixLayer(prefix[i] if prefix else None, length) for i in range(n_layers)])


def new_keys_values(cache: Cache) -> KeyValues:
    """What each layer's last forward pass added."""
    return [cast(PrefixLayer, layer).new for layer in cache.layers]


@dataclass(frozen=True, eq=False)
class Lent:
    """Rows that lend what they compute to others: `runs` are the rows that are run, `who[i]` says which of them row i takes."""

    runs: Int[Tensor, " run"]
    who: Int[Tensor, " active"]


class SlotLayer(DynamicLayer):
    """One layer's cache of many slots, each a row with a length of its own; the first `active` slots are in use."""

    keys: Any
    values: Any

    def __init__(self, slots: SlotCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.slots = slots

    def fill(self, slot: int, key: Tensor, value: Tensor, start: int) -> None:
        """Write one row's keys and values, [kv_heads, seq, head_dim], from position `start`."""
        if self.keys is None:
            shape = (self.slots.n_slots, key.shape[0], self.slots.max_length)
            self.keys = key.new_zeros(*shape, key.shape[-1])
            self.values = value.new_zeros(*shape, value.shape[-1])
            self.is_initialized = True
        self.keys[slot, :, start : start + key.shape[1]] = key
        self.values[slot, :, start : start + value.shape[1]] = value

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> KeyValue:
        """Write one new token a row at its own position; return the part of the slots that any row needs."""
        device, used, lent = key_states.device, self.slots.used, self.slots.lent
        at = self.slots.positions.to(device)  # each layer may be on a device of its own
        rows = torch.arange(len(at), device=device)
        if lent is None:
            self.keys[rows, :, at] = key_states[:, :, 0]
            self.values[rows, :, at] = value_states[:, :, 0]
            return self.keys[: len(at), :, :used], self.values[: len(at), :, :used]
        who = lent.who.to(device)
        self.keys[rows, :, at] = key_states[who, :, 0]
        self.values[rows, :, at] = value_states[who, :, 0]
        runs = lent.runs.to(device)
        return self.keys[runs, :, :used], self.values[runs, :, :used]

    def get_seq_length(self) -> int:
        """Keys that the longest row holds before this step."""
        return self.slots.used - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys to attend to, and their offset."""
        return self.slots.used, 0


class SlotCache(Cache):
    """Preallocated slots for rows of unequal length; no padding, no growth, no copies while decoding.

    Bytes: 2 · n_layers · n_slots · kv_heads · max_length · head_dim · itemsize.
    """

    def __init__(self, n_layers: int, n_slots: int, max_length: int) -> None:
        self.n_slots = n_slots
        self.max_length = max_length
        self.positions: Int[Tensor, " active"] = torch.zeros(0, dtype=torch.long)
        self.used = 0
        self.lent: Lent | None = None
        self.slots = [SlotLayer(self) for _ in range(n_layers)]
        super().__init__(layers=list(self.slots))

    def put(
        self,
        slot: int,
        row: int,
        prefix: KeyValues | None,
        new: KeyValues,
        prefix_length: int,
        length: int,
    ) -> None:
        """Fill a slot from the shared prefix and from row `row` of a prefill's new keys (its first `length`)."""
        for index, layer in enumerate(self.slots):
            lent, added = prefix[index] if prefix is not None else None, new[index]
            if lent is not None:
                layer.fill(slot, lent[0][0], lent[1][0], 0)
            if added is not None:
                key, value = added
                layer.fill(slot, key[row, :, :length], value[row, :, :length], prefix_length)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row's first `length` tokens into another slot."""
        for layer in self.slots:
            if layer.keys is not None:
                layer.keys[target, :, :length] = layer.keys[source, :, :length]
                layer.values[target, :, :length] = layer.values[source, :, :length]

    def clear(self, slot: int) -> None:
        """Zero a slot: a NaN that is left behind a row's own keys would reach it through the mask (0 · NaN is NaN)."""
        for layer in self.slots:
            if layer.keys is not None:
                layer.keys[slot].zero_()
                layer.values[slot].zero_()

    def at(self, positions: Int[Tensor, " active"], used: int, lent: Lent | None = None) -> None:
        """Say where the coming step's tokens go: one position a row, and how many keys any row will then hold; and which rows
        alone are run, where these lend what they compute to the others."""
        self.positions, self.used, self.lent = positions, used, lent


def attention_mask(
    query: Int[Tensor, "rows q"],
    n_keys: int,
    config: Any,
    dtype: torch.dtype,
    form: MaskForm = "4d",
) -> Bool[Tensor, "rows 1 q k"] | Float[Tensor, "rows 1 q k"] | Int[Tensor, "rows k"] | dict[str, Tensor]:
    """Who may attend to whom, from absolute positions: causal, and windowed in layers that are.

    Key i of a row is its token at position i. Boolean for sdpa, additive for eager attention. A mapping from layer type
    where the configuration names several. In the form "2d" only which keys are a row's own, [rows, k], for models that
    must make the causal mask themselves (those with alibi count positions in it).
    """
    key = torch.arange(n_keys, device=query.device)
    if form == "2d":
        return (key[None] <= query.amax(-1, keepdim=True)).long()
    causal = key[None, None, :] <= query[:, :, None]

    def of(kind: str) -> Tensor:
        allowed = causal
        if kind == "sliding_attention" and getattr(config, "sliding_window", None):
            allowed = allowed & (key[None, None, :] > query[:, :, None] - config.sliding_window)
        if kind == "chunked_attention" and getattr(config, "attention_chunk_size", None):
            size = config.attention_chunk_size
            allowed = allowed & (key[None, None, :] // size == query[:, :, None] // size)
        allowed = allowed[:, None]
        if config._attn_implementation == "sdpa":
            return allowed
        return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)

    kinds = sorted(set(getattr(config, "layer_types", None) or ()))
    if len(kinds) > 1:
        return {kind: of(kind) for kind in kinds}
    if kinds:
        return of(kinds[0])
    return of("sliding_attention" if getattr(config, "sliding_window", None) else "full_attention")
