"""The fast path: shared-prefix cache, resuming from a layer, last-position logits, batching by length.

A chat prompt is mostly template, so the tokens that all prompts start with are run once per intervention. Batches are
padded on the right: causal attention then needs no padding mask, and every row keeps its own positions. MLPs leave the
padding out. Layers below the first edited one are not run again when their outputs were kept. Only the last position meets
the vocabulary.

`RHAT_SLOW=1` runs the plain path instead: full prompts, left padding, every position's logits, nothing shared.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast

from rhat.model.edits import Chain, Edit, Edits, Read, first_layer
from rhat.model.kv import KeyValue, SlotCache, attention_mask, prefix_cache, taken
from rhat.model.origin import check_logits
from rhat.model.packing import packed, replaced
from rhat.model.plans import Batch, Plan, TokenIds
from rhat.model.positions import NEVER, TokenContext
from rhat.model.tap import declared, declared_context, tap, tapped
from rhat.sites import Site

if TYPE_CHECKING:
    from rhat.model.chat import ChatModel


def slow() -> bool:
    """Whether the user asked for the plain path (RHAT_SLOW=1)."""
    return os.environ.get("RHAT_SLOW", "") not in ("", "0")


@dataclass(eq=False)
class Base:
    """What the unedited model computed for a plan, kept so that edited runs can start where they first differ.

    residuals[layer] holds resid_pre.layer of the prefix and of every batch. Bytes: layers · tokens · d_model · itemsize.
    """

    prefix_kv: list[KeyValue | None] | None
    prefix_residuals: dict[int, Tensor] = field(default_factory=dict)
    residuals: list[dict[int, Tensor]] = field(default_factory=list)
    suffix_kv: list[list[KeyValue | None]] = field(default_factory=list)
    whole: dict[tuple[int, int], SlotCache] = field(
        default_factory=dict
    )  # (batch, times) → keys and values of whole prompts

    def start(self, layer: int) -> int:
        """The highest kept layer from which a run that first differs at `layer` can start; 0 if none."""
        return max((kept for kept in self.prefix_residuals if kept <= layer), default=0)


class _Headless(BaseModelOutputWithPast):
    """A decoder's output of which only the last hidden state is known."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        return


def head(model: ChatModel, hidden: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
    """Logits of normalised last hidden states, by the model's own head (with its scale and soft cap).

    The rows go through as one contiguous sequence of a batch of one: torch's CPU matmul copies the whole vocabulary
    matrix once per batch row otherwise.
    """
    row = hidden.contiguous()[None]

    def stub(*_args: Any, **_kwargs: Any) -> _Headless:
        return _Headless(last_hidden_state=row)

    with replaced(model.layout.base, stub):
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=model.device)
        return model.hf(input_ids=ids, use_cache=False).logits[0]


@contextmanager
def blocks_between(model: ChatModel, start: int, residual: Tensor | None, stop: int) -> Iterator[None]:
    """Run only the blocks from `start` to before `stop`: the one below hands `residual` on, those above what they are given."""
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


def run_decoder(
    model: ChatModel,
    ids: Int[Tensor, "rows seq"],
    positions: Int[Tensor, "rows seq"],
    n_keys: int,
    cache: Any,
) -> Float[Tensor, "rows seq d_model"]:
    """The decoder's normalised hidden states, with our own cache, positions and attention mask.

    Where a token context is declared that holds padding, MLPs that take each token by itself leave it out.
    """
    same = positions[:1] if bool((positions == positions[:1]).all()) else positions
    form = model.mask_form
    query = same if form == "pairs" else positions.expand(ids.shape)
    accepted = model.decoder_arguments
    context = declared_context()
    with (
        model.running(context),
        packed(model.positionwise if context is not None and context.padded else (), context),
    ):
        given = {
            "input_ids": ids,
            "attention_mask": attention_mask(query, n_keys, model.text_config, model.dtype, form),
            "position_ids": same,
            "past_key_values": cache,
            "use_cache": True,
        }
        return model.layout.base(**{k: v for k, v in given.items() if accepted is None or k in accepted})[0]


def decoder_arguments(base: torch.nn.Module) -> frozenset[str] | None:
    """The names that the decoder's forward takes; None if it takes any."""
    parameters = inspect.signature(base.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters)


def touches_prefix(edits: Edits, the_plan: Plan) -> bool:
    """Whether these edits can change a token of the shared prefix in any row."""
    shared = the_plan.prefix_length
    return any(
        edit.first_position(length, length - the_plan.template_length) < shared
        for edit in edits.values()
        for length in {len(p) for p in the_plan.prompts}
    )


def _run_prefix(
    model: ChatModel, the_plan: Plan, edits: Edits, start: int = 0, base: Base | None = None, stop: int = NEVER
) -> list[KeyValue | None]:
    """Keys and values of the shared prefix under `edits`, running only the blocks from `start` to before `stop`."""
    model.rotation.check_shared(the_plan)
    cache = prefix_cache(None, 0, model.layout.n_layers)
    context = the_plan.prefix_context()
    residual = base.prefix_residuals.get(start) if base else None
    with declared(context), blocks_between(model, start, residual, stop), tap(model, edits):
        run_decoder(model, the_plan.prefix, context.positions, the_plan.prefix_length, cache)
    new = taken(cache)
    if base is not None and base.prefix_kv is not None:
        new = [base.prefix_kv[i] if kv is None else kv for i, kv in enumerate(new)]
    return new


def keep_base(model: ChatModel, the_plan: Plan, layers: Sequence[int], *, keep_kv: bool = False) -> Base:
    """Run the unedited model over a plan and keep resid_pre of `layers`, so that edits there need not run what is below.

    Keeps nothing where the plain path is taken, and fewer layers, or nothing, where main memory is limited.
    """
    base = Base(None)
    layers = _affordable(model, the_plan, layers)
    if slow() or not model.fast or not layers:
        return base
    wanted = [Site("resid_pre", layer) for layer in layers]

    def keeper(into: dict[int, Tensor]) -> Edits:
        def keep(layer: int) -> Read:
            return Read(lambda x, _context: into.__setitem__(layer, x.clone()))

        return {site: keep(site.layer) for site in wanted}

    with torch.no_grad():
        if the_plan.prefix_length:
            base.prefix_kv = _run_prefix(model, the_plan, keeper(base.prefix_residuals))
        else:
            base.prefix_residuals = {layer: torch.empty(0) for layer in layers}
        for batch in the_plan.batches:
            kept: dict[int, Tensor] = {}
            cache = prefix_cache(base.prefix_kv, the_plan.prefix_length, model.layout.n_layers)
            with declared(batch.context), tap(model, keeper(kept)):
                _run_batch(model, the_plan, batch, cache)
            base.residuals.append(kept)
            if keep_kv:
                base.suffix_kv.append(taken(cache))
    return base


def _affordable(model: ChatModel, the_plan: Plan, layers: Sequence[int]) -> Sequence[int]:
    """As many of these layers, evenly chosen, as a sixteenth of the memory that the model may take can hold."""
    if model.memory is None:
        return layers
    tokens = the_plan.prefix_length + sum(batch.ids.numel() for batch in the_plan.batches)
    n = model.memory // 16 // (tokens * model.d_model * model.dtype.itemsize)
    return layers if n >= len(layers) else [layers[i * len(layers) // n] for i in range(n)]


def _run_batch(model: ChatModel, the_plan: Plan, batch: Batch, cache: Any) -> Float[Tensor, "rows seq d_model"]:
    n_keys = the_plan.prefix_length + batch.ids.shape[1]
    return run_decoder(model, batch.ids, batch.context.positions, n_keys, cache)


@dataclass(frozen=True, eq=False)
class Prefilled:
    """One batch after its forward pass: the last position's hidden states, and what a decoder needs to go on."""

    index: int
    batch: Batch
    hidden: Float[Tensor, "rows d_model"]
    prefix_kv: list[KeyValue | None] | None
    new_kv: list[KeyValue | None]


def prefill(
    model: ChatModel, the_plan: Plan, edits: Edits | None = None, base: Base | None = None, stop: int = NEVER
) -> Iterator[Prefilled]:
    """Run every batch of a plan under `edits`, fast; yields batches as they are done.

    With `base` the run starts at the highest kept layer that no edit precedes. With `stop` it ends at the input of that
    block, and the hidden states that are yielded mean nothing.
    """
    edits = edits or {}
    n_layers = model.layout.n_layers
    begin = min(first_layer(edits), n_layers - 1)
    base = None if tapped(model.hf) else base  # an intervention is on: what the plain model computed does not hold
    start = base.start(begin) if base is not None else 0
    prefix_kv = None
    with torch.no_grad():  # never across a yield: who takes the batches has a grad mode of their own
        if the_plan.prefix_length:
            if base is not None and base.prefix_kv is not None and not touches_prefix(edits, the_plan):
                prefix_kv = base.prefix_kv
                _read_prefix(model, the_plan, edits, stop)
            else:
                prefix_kv = _run_prefix(model, the_plan, edits, start, base, stop)
    for index, batch in enumerate(the_plan.batches):
        cache = prefix_cache(prefix_kv, the_plan.prefix_length, n_layers)
        residual = base.residuals[index].get(start) if base is not None and start else None
        with (
            torch.no_grad(),
            declared(batch.context),
            blocks_between(model, start, residual, stop),
            tap(model, edits),
        ):
            hidden = _run_batch(model, the_plan, batch, cache)
            last = hidden[torch.arange(len(hidden), device=hidden.device), batch.lengths.to(hidden.device) - 1]
        new = taken(cache)
        if base is not None and base.suffix_kv:
            new = [base.suffix_kv[index][i] if kv is None else kv for i, kv in enumerate(new)]
        yield Prefilled(index, batch, last, prefix_kv, new)


def _read_prefix(model: ChatModel, the_plan: Plan, edits: Edits, stop: int) -> None:
    """Readers must see the prefix even when it need not be run for the edits' sake."""
    if any(edit.first_position(NEVER, NEVER) == NEVER and isinstance(edit, Read) for edit in edits.values()):
        _run_prefix(model, the_plan, edits, stop=stop)


def last_logits(
    model: ChatModel, the_plan: Plan, edits: Edits | None = None, base: Base | None = None
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]]:
    """Next-token logits after each prompt, batch by batch: (which prompts, their logits), in the model's dtype.

    Equal to the plain path's to 1e-9 relative in float64. Falls back to the plain path where the model's attention cannot
    take our masks (see `ChatModel.fast`) or RHAT_SLOW=1 asks for it. With a `base` that kept keys and values, edits of the
    last prompt token alone run that token alone.

    Raises:
        NonFiniteError: if a row's logits are no distribution, saying where that began.
    """
    for rows, logits in _last_logits(model, the_plan, edits, base):
        check_logits(model, the_plan.prompts, rows, logits, edits)
        yield rows, logits


def _last_logits(
    model: ChatModel, the_plan: Plan, edits: Edits | None, base: Base | None
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]]:
    if slow() or not model.fast:
        yield from plain_last_logits(model, the_plan, edits)
        return
    if base is not None and base.suffix_kv and not tapped(model.hf) and last_token_only(edits or {}, the_plan):
        yield from last_tokens(model, the_plan, edits or {}, base)
        return
    for done in prefill(model, the_plan, edits, base):
        with torch.no_grad():
            logits = head(model, done.hidden)
        yield done.batch.rows, logits


def reads(edit: Edit) -> bool:
    """Whether this edit reads, or a part of it does."""
    return any(map(reads, edit.edits)) if isinstance(edit, Chain) else isinstance(edit, Read)


def last_token_only(edits: Edits, the_plan: Plan) -> bool:
    """Whether these edits change nothing before each prompt's last token, and read nothing."""
    template = the_plan.template_length
    return bool(edits) and all(
        not reads(edit) and edit.first_position(length, length - template) >= length - 1
        for edit in edits.values()
        for length in {len(p) for p in the_plan.prompts}
    )


def last_tokens(
    model: ChatModel, the_plan: Plan, edits: Edits, base: Base, times: int = 1
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]]:
    """Logits after each prompt, running its last token only: what comes before it is as the unedited model left it.

    With `times`, each batch holds its rows so often, one copy after the other, for edits that tell them apart.
    """
    start = base.start(min(first_layer(edits), model.layout.n_layers - 1))
    for index, batch in enumerate(the_plan.batches):
        slots = _whole(model, the_plan, base, index, times)
        context = batch.context.repeated(times)
        row = torch.arange(len(batch.ids), device=batch.ids.device).repeat(times)
        column, at = (batch.lengths - 1).repeat(times), context.prompt_length - 1
        context = replace(context, positions=at[:, None], real=torch.ones_like(at[:, None]).bool(), padded=False)
        residual = base.residuals[index][start][row, column][:, None] if start else None
        slots.at(at, int(at.max()) + 1)
        with (
            torch.no_grad(),
            declared(context),
            blocks_between(model, start, residual, NEVER),
            tap(model, edits),
        ):
            hidden = run_decoder(model, batch.ids[row, column][:, None], at[:, None], slots.used, slots)[:, -1]
        with torch.no_grad():
            logits = head(model, hidden)
        yield context.rows, logits


def _whole(model: ChatModel, the_plan: Plan, base: Base, index: int, times: int) -> SlotCache:
    """Keys and values of a batch's whole prompts. A run writes those of last tokens anew in every block that it runs."""
    if (index, times) not in base.whole:
        batch = the_plan.batches[index]
        longest = the_plan.prefix_length + batch.ids.shape[1]
        slots = base.whole[index, times] = SlotCache(model.layout.n_layers, times * len(batch.ids), longest)
        for copy in range(times):
            for row, length in enumerate(batch.lengths.tolist(), copy * len(batch.ids)):
                kept = base.suffix_kv[index]
                slots.put(row, row % len(batch.ids), base.prefix_kv, kept, the_plan.prefix_length, length)
    return base.whole[index, times]


def run_until(model: ChatModel, the_plan: Plan, edits: Edits, stop: int) -> Iterator[Int[Tensor, " rows"]]:
    """Run every batch for what `edits` read and no further than the input of block `stop`; yields which prompts ran.

    The plain path, where it is taken, runs to the end.
    """
    if slow() or not model.fast:
        for rows, _ in plain_last_logits(model, the_plan, edits):
            yield rows
        return
    for done in prefill(model, the_plan, edits, stop=stop):
        yield done.batch.rows


def plain_last_logits(
    model: ChatModel, the_plan: Plan, edits: Edits | None = None
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]]:
    """The same by the plain path: whole prompts, left padding with a mask, every position's logits.

    One prompt at a time where the model does not take padding.
    """
    for batch in the_plan.batches:
        for rows in batch.rows.split(1) if batch.context.padded and not model.pads else (batch.rows,):
            yield rows, plain_forward(model, [the_plan.prompts[i] for i in rows.tolist()], rows, edits)


def left_padded(
    model: ChatModel, prompts: Sequence[TokenIds], rows: Tensor, prompt_lengths: Tensor | None = None
) -> tuple[Tensor, Tensor, TokenContext]:
    """Ids, mask and token context of prompts padded on the left, as transformers' generate wants them."""
    longest = max(len(p) for p in prompts)
    ids = torch.full((len(prompts), longest), model.pad_id, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, longest - len(prompt) :] = torch.tensor(list(prompt))
        mask[i, longest - len(prompt) :] = 1
    lengths = mask.sum(-1) if prompt_lengths is None else prompt_lengths
    context = TokenContext(
        positions=(mask.cumsum(-1) - 1).clamp_min(0),
        real=mask.bool(),
        prompt_length=lengths,
        template_start=lengths - model.template_length,
        rows=rows.cpu(),
        padded=not bool(mask.all()),
    ).to(model.device)
    return ids.to(model.device), mask.to(model.device), context


def plain_forward(
    model: ChatModel,
    prompts: Sequence[TokenIds],
    rows: Tensor,
    edits: Edits | None = None,
    prompt_lengths: Tensor | None = None,
) -> Float[Tensor, "rows vocab"]:
    """One plain forward pass of whole sequences; the logits after each one's last token."""
    if len({len(p) for p in prompts}) > 1 and not model.pads:
        lengths = torch.tensor([len(p) for p in prompts]) if prompt_lengths is None else prompt_lengths
        return torch.cat(
            [plain_forward(model, [p], rows[i : i + 1], edits, lengths[i : i + 1]) for i, p in enumerate(prompts)]
        )
    return plain_last_positions(model, *left_padded(model, prompts, rows, prompt_lengths), edits)[:, -1]


def plain_last_positions(
    model: ChatModel, ids: Tensor, mask: Tensor, context: TokenContext, edits: Edits | None, last: int = 1
) -> Float[Tensor, "rows last vocab"]:
    """Logits of every row's last positions, from every position's."""
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": context.positions, "use_cache": False}
    accepted = decoder_arguments(model.hf)
    with torch.no_grad(), model.running(context), declared(context), tap(model, edits or {}):
        logits = model.hf(**{k: v for k, v in given.items() if accepted is None or k in accepted}).logits
    return logits[:, -last:].clone()
