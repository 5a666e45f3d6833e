"""One forward pass of the decoder: from which block to which, with which cache, and the head on what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

from rhat.model.decoder import Decoder
from rhat.model.edits import Edits, Read, only_ends
from rhat.model.kv import KeyValues, Lent, SlotCache, attention_mask, new_keys_values, prefix_cache
from rhat.model.packing import packed
from rhat.model.positions import BEYOND, TokenContext
from rhat.model.replacing import replaced
from rhat.model.tap import declared, declared_context, tap, tapped
from rhat.model.work import note_blocks, note_vocabulary
from rhat.sites import Site


class _Headless(BaseModelOutputWithPast):
    """A decoder's output of which only the last hidden state is known.

    Anything else that a family's head looks for (router logits, all hidden states) is None, as in transformers where it was not
    asked for.
    """

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        return


def lm_head(model: Decoder, hidden: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
    """Logits of normalised last hidden states, by the model's own head (with its scale and soft cap).

    The rows go through as one contiguous sequence of a batch of one: torch's CPU matmul copies the whole vocabulary
    matrix once per batch row otherwise.
    """
    row = hidden.contiguous()[None]
    note_vocabulary(model, len(hidden))

    def stub(*_args: Any, **_kwargs: Any) -> _Headless:
        return _Headless(last_hidden_state=row)

    # The whole model is called, with the decoder replaced, and not its lm_head module: some families scale or cap logits in code
    # around that module. The ids are never looked up; they give the call its shape.
    with replaced(model.layout.base, stub):
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=model.device)
        logits: Tensor = model.hf(input_ids=ids, use_cache=False).logits[0]
        return logits


NO_ENDS = torch.zeros(0, dtype=torch.long)
"""The `ends` of a pass that is run for keys and values: no hidden state is wanted."""


@contextmanager
def blocks_between(model: Decoder, start: int, residual: Tensor | None, stop: int) -> Iterator[None]:
    """Run only the blocks from `start` to before `stop`: the one below hands `residual` on, those above what they are given."""
    # The decoder's own loop still goes over every block: it also makes masks and rotations and ends with the norm, which differ
    # by family. A block that must not run is given a forward that costs nothing.
    layout = model.layout
    wrap = (lambda x: (x,)) if layout.tuple_output else (lambda x: x)

    def hand_in(hidden_states: Tensor, *_args: Any, **_kwargs: Any) -> Any:
        return wrap(residual)

    def hand_on(hidden_states: Tensor, *_args: Any, **_kwargs: Any) -> Any:
        return wrap(hidden_states)

    below = range(start) if residual is not None else ()
    skipped = [(i, hand_in) for i in below] + [(i, hand_on) for i in range(stop, layout.n_layers)]
    with ExitStack() as stack:
        for i, instead in skipped:
            stack.enter_context(replaced(layout.parts[i].block, instead))
        yield


def _run(n_layers: int, start: int, residual: Tensor | None, stop: int) -> range:
    """The blocks that `blocks_between` runs."""
    return range(start if residual is not None else 0, min(stop, n_layers))


def accepted(given: dict[str, Any], names: frozenset[str] | None) -> dict[str, Any]:
    """Those of the arguments that a forward takes; all where `names` is None."""
    return given if names is None else {name: value for name, value in given.items() if name in names}


def run_model(
    model: Decoder, ids: Tensor, mask: Tensor, context: TokenContext, *, bare: bool = False, start: int = 0
) -> Any:
    """What the whole model, or with `bare` the decoder without its head, gives for sequences padded on the left.

    `start` is the first block that is run, where `blocks_between` says so: those below it count as no work.
    """
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": context.positions, "use_cache": False}
    note_blocks(model, ids.shape[0], ids.shape[1], ids.shape[1], range(start, model.layout.n_layers))
    if not bare:
        note_vocabulary(model, ids.numel())
    with model.running(context):
        if bare:
            return model.layout.base(**accepted(given, model.decoder_arguments))
        return model.hf(**accepted(given, model.model_arguments))


def run_decoder(
    model: Decoder,
    ids: Int[Tensor, "rows seq"],
    positions: Int[Tensor, "rows seq"],
    n_keys: int,
    cache: Cache,
    ends: Int[Tensor, " ends"] | None = None,
) -> Float[Tensor, "rows seq d_model"]:
    """The decoder's normalised hidden states, with our own cache, positions and attention mask.

    Where a token context is declared that holds padding, MLPs that take each token by itself leave it out; with `ends`,
    those of the last block leave out all but each row's token number `ends`, counted from 1; empty: all.
    """
    # one row of positions where all rows have the same: models that take masks of pairs then make one mask for all
    context = declared_context()
    aligned = None if context is None or context.positions is not positions else context.aligned
    same = positions[:1] if (_aligned(positions) if aligned is None else aligned) else positions
    # (a mask of keys has a row for each batch row, whatever the positions)
    form = model.mask_form
    query = same if form == "4d" else positions.expand(ids.shape)
    with (
        model.running(context),
        packed(model.tokenwise_mlps, context, () if ends is None else model.last_mlps, ends),
    ):
        given = {
            "input_ids": ids,
            "attention_mask": attention_mask(query, n_keys, model.text_config, model.dtype, form),
            "position_ids": same,
            "past_key_values": cache,
            "use_cache": True,
        }
        hidden: Tensor = model.layout.base(**accepted(given, model.decoder_arguments))[0]
        return hidden


def _aligned(positions: Int[Tensor, "rows seq"]) -> bool:
    return bool((positions == positions[:1]).all())


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass gives: normalised hidden states, and the keys and values of its tokens in every block."""

    hidden: Float[Tensor, "rows seq d_model"]
    new_kv: KeyValues

    def last(self, lengths: Int[Tensor, " rows"]) -> Float[Tensor, "rows d_model"]:
        """The hidden states of each row's last token, where rows are padded on the right to unequal lengths."""
        hidden = self.hidden
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths.to(hidden.device) - 1]


def run_tokens(
    model: Decoder,
    ids: Int[Tensor, "rows seq"],
    context: TokenContext,
    edits: Edits,
    *,
    prefix_kv: KeyValues | None = None,
    prefix_length: int = 0,
    start: int = 0,
    residual: Float[Tensor, "rows seq d_model"] | None = None,
    below: KeyValues | None = None,
    stop: int = BEYOND,
    ends: Int[Tensor, " ends"] | None = None,
) -> Pass:
    """Run tokens under `edits` after a prefix whose keys and values are there: the one prefill of search and decoding.

    Only the blocks from `start` to before `stop` run. `residual` is resid_pre of `start`, and `below` holds the keys and
    values of the blocks that do not run, where they are wanted. With `stop` the hidden states mean nothing, and with `ends`
    only that of each row's token number `ends`, counted from 1, does; none where it is empty (`NO_ENDS`).
    """
    n_layers, n_keys = model.layout.n_layers, prefix_length + ids.shape[1]
    if ends is not None and (tapped(model.hf) or not only_ends(edits, n_layers - 1)):
        ends = None  # something in the last block looks at what its MLP gives
    blocks = _run(n_layers, start, residual, stop)
    note_blocks(model, ids.shape[0], ids.shape[1], n_keys, blocks, context, ends)
    cache = prefix_cache(prefix_kv, prefix_length, n_layers)
    # never a grad mode across a yield: whoever takes batches one by one has a grad mode of their own
    with torch.no_grad(), declared(context), blocks_between(model, start, residual, stop), tap(model, edits):
        hidden = run_decoder(model, ids, context.positions, n_keys, cache, ends)
    new = new_keys_values(cache)
    # Blocks that did not run have added nothing to the cache. A decoder that goes on from here needs their keys all the same.
    if below is not None:
        new = [under if kv is None else kv for kv, under in zip(new, below, strict=True)]
    return Pass(hidden, new)


def run_step(
    model: Decoder,
    tokens: Int[Tensor, " rows"],
    context: TokenContext,
    slots: SlotCache,
    edits: Edits,
    *,
    start: int = 0,
    residual: Float[Tensor, "rows 1 d_model"] | None = None,
    used: int | None = None,
) -> Float[Tensor, "rows d_out"]:
    """Run one token of each row at its own position, row i in slot i; the normalised hidden states after it.

    `used` is how many keys the longest row then has, where that is known.
    """
    # Every row attends to as many keys as the longest needs; the mask hides what lies beyond a row's own.
    positions = context.positions
    slots.at(positions[:, 0], int(positions.max()) + 1 if used is None else used)
    note_blocks(model, len(tokens), 1, slots.used, _run(model.layout.n_layers, start, residual, BEYOND))
    with torch.no_grad(), declared(context), blocks_between(model, start, residual, BEYOND), tap(model, edits):
        return run_decoder(model, tokens[:, None], positions, slots.used, slots)[:, -1]


def run_step_below(
    model: Decoder,
    tokens: Int[Tensor, " run"],
    context: TokenContext,
    slots: SlotCache,
    edits: Edits,
    *,
    stop: int,
    lent: Lent,
    positions: Int[Tensor, "active 1"],
    used: int,
) -> Float[Tensor, "active 1 d_model"]:
    """The blocks below `stop` of a step, of the rows `lent.runs` alone: resid_pre of `stop` for every row.

    `tokens`, `context` and `edits` are those of the rows that are run. Keys and values go into the slots of all rows, at
    their `positions`; `run_step` with `start` then goes on.
    """
    slots.at(positions[:, 0], used, lent)
    note_blocks(model, len(tokens), 1, slots.used, range(stop))
    kept: list[Tensor] = []
    below = {site: edit for site, edit in edits.items() if site.layer < stop}
    below[Site("resid_pre", stop)] = Read(lambda x, _context: kept.append(x.clone()))
    with torch.no_grad(), declared(context), blocks_between(model, 0, None, stop), tap(model, below):
        run_decoder(model, tokens[:, None], context.positions, slots.used, slots)
    residual = kept[0].view(len(tokens), 1, -1)
    return residual[lent.who.to(residual.device)]
