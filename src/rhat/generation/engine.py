"""The decode engine: rows join and leave a batch; one engine serves study and server alike.

Rows live in the slots of a preallocated cache, each at its own length, so nothing is padded, grown or copied while
decoding. A row leaves as soon as it has ended, has its number of tokens, or its caller has seen enough (`until`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.errors import PromptError
from rhat.generation.batchedits import batch_edits
from rhat.generation.renewal import renew
from rhat.generation.rows import Choose, Completion, FinishReason, Request, Row, TokenLogprob
from rhat.generation.sampling import Sampling
from rhat.generation.text import Text
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits, Read, first_layer, merge
from rhat.model.finite import faulty
from rhat.model.forward import blocks_between, decoder_arguments, head, left_padded, run_decoder, slow
from rhat.model.kv import KeyValue, SlotCache, prefix_cache, taken
from rhat.model.origin import not_finite
from rhat.model.plans import TokenIds, common_prefix
from rhat.model.positions import NEVER, TokenContext
from rhat.model.protocol import AnyIntervention, PerPrompt, edits_per_prompt
from rhat.model.tap import declared, tap, tapped, whole_prompts
from rhat.model.template import ChatPrompt
from rhat.sites import Site

Prefix = list[KeyValue | None]  # keys and values of each layer, [1, kv_heads, prefix, head_dim]
KEPT_PREFIXES = 16
SLOTS = 128  # rows that are decoded at once: a step's products reach their speed with that many
BLOCK = 512  # of the vocabulary, in `likeliest`


def likeliest(logits: Float[Tensor, "rows vocab"]) -> Int[Tensor, " rows"]:
    """The likeliest token of each row, the first where several are: argmax, block by block.

    Torch's argmax over bfloat16 on the CPU goes token by token, a tenth of a decode step; its maximum does not.
    """
    vocab = logits.shape[-1]
    whole = vocab // BLOCK * BLOCK
    if whole < 4 * BLOCK:
        return logits.argmax(-1)
    best = logits[:, :whole].unflatten(1, (-1, BLOCK)).amax(-1)
    if whole < vocab:
        best = torch.cat([best, logits[:, whole:].amax(-1, keepdim=True)], 1)
    block = best.argmax(-1, keepdim=True) * BLOCK
    columns = (block + torch.arange(BLOCK, device=logits.device)).clamp_max(vocab - 1)
    return block[:, 0] + logits.gather(1, columns).argmax(-1)


def greedy(logits: Float[Tensor, "rows vocab"], _rows: Sequence[Row]) -> Int[Tensor, " rows"]:
    """The likeliest token of each row."""
    return likeliest(logits)


def as_requested(logits: Float[Tensor, "rows vocab"], rows: Sequence[Row]) -> Int[Tensor, " rows"]:
    """Each row's token as its request's sampling says; the likeliest where it says nothing."""
    tokens = likeliest(logits)
    for index, row in enumerate(rows):
        sampling = row.request.sampling
        if sampling is not None:
            row.generator = row.generator or sampling.generator()
            tokens[index] = sampling.pick(logits[index], row.said, row.generator)
    return tokens


class Engine:
    """A batch that requests join (`add`) and leave (`step` returns those that finished).

    `edits` apply to every row and may dispatch by the context's row ids, except on a prompt prefix that the requests of one
    `add` share, which is run once under row id −1; a request's own edits reach its own rows alone, that prefix included.
    `plain` runs whole left-padded sequences for every token instead: the reference, and the way for models that the fast
    path does not suit. One engine belongs to one thread.

    A row whose logits are no distribution (NaN, or +inf) ends `add` or `step` with NonFiniteError; with `isolate` it leaves
    with finish reason "failed" and its error, and the others go on.
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        edits: Edits | None = None,
        n_slots: int = 64,
        max_length: int = 512,
        choose: Choose = as_requested,
        plain: bool | None = None,
        isolate: bool = False,
    ) -> None:
        self.model = model
        self.edits = edits or {}
        self.choose = choose
        self.plain = (slow() or not model.fast) if plain is None else plain
        self.isolate = isolate
        self.cache = SlotCache(model.layout.n_layers, n_slots, max_length)
        self.rows: list[Row] = []
        self._prefixes: OrderedDict[tuple[int, int, tuple[int, ...]], tuple[Edits | None, Prefix]] = OrderedDict()
        self._head: tuple[int, ...] | None = None

    @property
    def free(self) -> int:
        """Slots that are not in use."""
        return self.cache.n_slots - len(self.rows)

    def add(self, requests: Sequence[Request]) -> list[Row]:
        """Prefill requests, let each say its first token, and keep them; returns their rows, in order, finished ones included.

        Raises:
            PromptError: if there are more than free slots, or a request is empty, or longer than the slots.
            NonFiniteError: if logits are no distribution, unless such rows are isolated.
        """
        if len(requests) > self.free:
            raise PromptError(f"engine: got {len(requests)} requests, {self.free} slots are free; step first")
        for request in requests:
            need = len(request.tokens) + request.max_new_tokens
            if need > self.cache.max_length:
                raise PromptError(
                    f"prompt of {len(request.tokens)} tokens and {request.max_new_tokens} new ones: "
                    f"got {need}, at most {self.cache.max_length} fit; shorten the prompt or ask for fewer tokens"
                )
            if not request.tokens or request.max_new_tokens < 1:
                raise PromptError(
                    f"prompt of {len(request.tokens)} tokens and {request.max_new_tokens} new ones: "
                    "expected at least one of each"
                )
        rows = [Row(r, text=None if r.stop is None else Text(self.model.tokenizer, r.stop)) for r in requests]
        present = len(self.rows)
        try:
            with torch.no_grad():
                if self.plain:
                    self._say(rows, self._plain_logits(rows)) if rows else None
                    self.rows += rows
                else:
                    for shared, members in self._by_prefix(rows):
                        self._prefill(members, shared)
        except BaseException:
            del self.rows[present:]
            raise
        self._leave()
        return rows

    def step(self) -> list[Row]:
        """Feed every row's newest token, let each say one more; returns the rows that finished, which have left."""
        if not self.rows:
            return []
        with torch.no_grad():
            logits = self._plain_logits(self.rows) if self.plain else head(self.model, self._decoded())
            going_on = [i for i, row in enumerate(self.rows) if row.closing is None]
            for row in self.rows:
                row.finish_reason = row.closing
            if len(going_on) == len(self.rows):
                self._say(self.rows, logits)
            elif going_on:
                self._say([self.rows[i] for i in going_on], logits[going_on])
        return self._leave()

    def cancel(self, row: Row) -> None:
        """Take a row out; its place is free at once."""
        if row.finish_reason is None:
            row.finish_reason = "cancelled"
            self._leave()

    def _leave(self) -> list[Row]:
        finished = [row for row in self.rows if row.finish_reason is not None]
        for slot, row in enumerate(self.rows):
            if row.error is not None and not self.plain:
                self.cache.clear(slot)
        for row in finished:
            slot = self.rows.index(row)
            last = self.rows.pop()
            if slot < len(self.rows):
                self.rows[slot] = last
                if not self.plain:
                    self.cache.move(len(self.rows), slot, last.length)
        return finished

    def _say(self, rows: Sequence[Row], logits: Float[Tensor, "rows vocab"]) -> None:
        chosen = self.choose(logits, rows)
        both = torch.stack([chosen, faulty(logits).to(chosen)]).tolist()  # one read-back for the two
        for index, (row, token, fault) in enumerate(zip(rows, *both, strict=True)):
            if fault:
                self._fail(row)
                continue
            if row.request.logprobs is not None:
                row.logprobs.append(_logprob(logits[index], token, row.request.logprobs))
            advance(self.model, row, token)

    def _fail(self, row: Row) -> None:
        row.error = not_finite(
            self.model,
            row.sequence,
            merge(self.edits, row.request.edits or {}),
            row=row.request.row,
            prompt_length=len(row.request.tokens),
            template_length=int(self._template_lengths([row])),
        )
        if not self.isolate:
            raise row.error
        row.finish_reason = "failed"

    # Decoding

    def _decoded(self) -> Float[Tensor, "rows d_model"]:
        """Last hidden states of all rows after their newest tokens."""
        rows, device = self.rows, self.model.device
        positions = torch.tensor([row.length for row in rows], device=device)
        lengths = torch.tensor([len(row.request.tokens) for row in rows], device=device)
        context = TokenContext(
            positions=positions[:, None],
            real=torch.ones(len(rows), 1, dtype=torch.bool, device=device),
            prompt_length=lengths,
            template_start=lengths - self._template_lengths(rows).to(device),
            rows=torch.tensor([row.request.row for row in rows], device=device),
            padded=False,
        )
        used = int(positions.max()) + 1
        newest = torch.tensor([[row.said[-1]] for row in rows], device=device)
        renew(self.model, rows, self.cache, self._tap)
        self.cache.at(positions, used)
        with declared(context), self._tap(rows, context):
            return run_decoder(self.model, newest, positions[:, None], used, self.cache)[:, -1]

    def _tap(self, rows: Sequence[Row], context: TokenContext):
        return tap(self.model, batch_edits(self.edits, rows, context))

    def _template_lengths(self, rows: Sequence[Row]) -> Int[Tensor, " rows"]:
        own = self.model.template_length
        given = [row.request.template_length for row in rows]
        return torch.tensor([own if length is None else length for length in given])

    def _plain_logits(self, rows: Sequence[Row]) -> Float[Tensor, "rows vocab"]:
        """Logits after every row's newest token, running whole left-padded sequences (alike in length, where the model
        does not take padding)."""
        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            by_length.setdefault(len(row.sequence), []).append(index)
        if len(by_length) > 1 and not self.model.pads:
            order = torch.tensor([index for members in by_length.values() for index in members])
            parts = [self._plain_logits([rows[i] for i in members]) for members in by_length.values()]
            return torch.cat(parts)[order.argsort().to(parts[0].device)]
        ids = torch.tensor([row.request.row for row in rows])
        lengths = torch.tensor([len(row.request.tokens) for row in rows])
        tokens, mask, context = left_padded(self.model, [row.sequence for row in rows], ids, lengths)
        start = context.prompt_length - self._template_lengths(rows).to(context.prompt_length.device)
        context = replace(context, template_start=start)
        given = {"input_ids": tokens, "attention_mask": mask, "position_ids": context.positions, "use_cache": False}
        accepted = decoder_arguments(self.model.hf)
        with self.model.running(context), declared(context), self._tap(rows, context):
            return self.model.hf(**{k: v for k, v in given.items() if accepted is None or k in accepted}).logits[:, -1]

    # Prefill

    def _by_prefix(self, rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
        """Rows in groups that share their first tokens, with how many those are.

        Several rows share what they have in common; otherwise what all chats with this template begin with. Each row keeps
        at least its template tokens, and one, to itself.
        """
        if not rows or whole_prompts(self.model.hf):
            return [(0, list(rows))] if rows else []

        def room(row: Row) -> int:
            return len(row.request.tokens) - max(int(self._template_lengths([row])), 1)

        first = self.head
        shared = 0
        if len(rows) > 1:
            shared = max(0, min(common_prefix([row.request.tokens for row in rows]), *(room(row) for row in rows)))
        if shared >= len(first):
            return [(shared, list(rows))]
        groups: dict[int, list[Row]] = {}
        for row in rows:
            fits = room(row) >= len(first) and row.request.tokens[: len(first)] == first
            groups.setdefault(len(first) if fits else 0, []).append(row)
        return list(groups.items())

    @property
    def head(self) -> tuple[int, ...]:
        """The tokens that chat prompts of this model begin with, whatever the instruction."""
        if self._head is None:
            probes = self.model.tokenize(["Name a river in Peru", "why is 7 odd?"])
            self._head = probes[0][: common_prefix(probes)]
        return self._head

    def _prefill(self, rows: Sequence[Row], shared: int) -> None:
        """Run prompts whose first `shared` tokens are the same, put them into slots, and let each say its first token."""
        late, start = self._late(rows)
        once = set(late)
        rest = [row for row in rows if row not in once]
        for some, layer in ((late, start), (rest, 0)):
            group: list[Row] = []
            for row in [*sorted(some, key=lambda row: _by_length(row.request)), None]:
                full = (
                    group
                    and row
                    and (len(group) + 1) * (len(row.request.tokens) - shared) > self.model.room["max_tokens"]
                )
                if group and (row is None or full):
                    self._prefill_batch(group, shared, layer)
                    group = []
                if row is not None:
                    group.append(row)

    def _late(self, rows: Sequence[Row]) -> tuple[list[Row], int]:
        """Rows whose prompts are others' too, all edited from some layer on at the earliest, and that layer: blocks below it
        run once for each prompt."""
        if tapped(self.model.hf):
            return [], 0
        prompts = Counter(row.request.tokens for row in rows)
        ours = first_layer(self.edits)
        begins = {
            id(row): min(ours, first_layer(row.request.edits or {}), self.model.layout.n_layers - 1)
            for row in rows
            if prompts[row.request.tokens] > 1 and row.request.probe is None
        }
        late = [row for row in rows if begins.get(id(row), 0) > 0]
        if len({row.request.tokens for row in late}) == len(late):
            return [], 0
        return late, min(begins[id(row)] for row in late)

    def _prefill_batch(self, rows: Sequence[Row], shared: int, start: int = 0) -> None:
        model = self.model
        prefixes = [self._prefix(row, shared) for row in rows] if shared else None
        ids, context = self._suffixes(rows, shared)
        lent = None if prefixes is None else _lent(prefixes)
        residual, below = self._below(rows, shared, start) if start else (None, None)
        cache = prefix_cache(lent, shared, model.layout.n_layers)
        n_keys = shared + ids.shape[1]
        with declared(context), blocks_between(model, start, residual, NEVER), self._tap(rows, context):
            hidden = run_decoder(model, ids, context.positions, n_keys, cache)
        ends = (context.prompt_length - shared - 1).to(hidden.device)
        last = hidden[torch.arange(len(rows), device=hidden.device), ends]
        new = taken(cache)
        if below is not None:
            new = [under if kv is None else kv for kv, under in zip(new, below, strict=True)]
        self._say(rows, head(model, last))
        for index, row in enumerate(rows):
            if row.finish_reason is None:
                own = None if prefixes is None else prefixes[index]
                self.cache.put(len(self.rows), index, own, new, shared, len(row.request.tokens) - shared)
                self.rows.append(row)

    def _below(
        self, rows: Sequence[Row], shared: int, start: int
    ) -> tuple[Float[Tensor, "rows seq d_model"], list[KeyValue | None]]:
        """What blocks below `start`, where nothing is edited, give for each row: resid_pre of `start`, keys and values.

        Each prompt is run once, whatever the number of its rows.
        """
        model = self.model
        by_prompt = {row.request.tokens: row for row in rows}
        different = list(by_prompt.values())
        ids, context = self._suffixes(different, shared)
        cache = prefix_cache(
            _lent([self._prefix(row, shared) for row in different]) if shared else None, shared, model.layout.n_layers
        )
        kept: list[Tensor] = []
        reading = {Site("resid_pre", start): Read(lambda x, _context: kept.append(x.clone()))}
        with declared(context), blocks_between(model, 0, None, start), tap(model, reading):
            run_decoder(model, ids, context.positions, shared + ids.shape[1], cache)
        place = {tokens: i for i, tokens in enumerate(by_prompt)}
        which = torch.tensor([place[row.request.tokens] for row in rows])

        def for_each(x: Tensor) -> Tensor:
            return x[which.to(x.device)]

        below = [None if kv is None else (for_each(kv[0]), for_each(kv[1])) for kv in taken(cache)]
        return for_each(kept[0]), below

    def _suffixes(self, rows: Sequence[Row], shared: int) -> tuple[Tensor, TokenContext]:
        """Prompts without their first `shared` tokens, padded on the right, and where their tokens stand."""
        device = self.model.device
        lengths = torch.tensor([len(row.request.tokens) for row in rows])
        longest = int(lengths.max()) - shared
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row.request.tokens) - shared] = torch.tensor(row.request.tokens[shared:])
        column = torch.arange(longest)
        real = column[None] < (lengths - shared)[:, None]
        context = TokenContext(
            positions=(shared + column).expand(len(rows), longest).contiguous(),
            real=real,
            prompt_length=lengths,
            template_start=lengths - self._template_lengths(rows),
            rows=torch.tensor([row.request.row for row in rows]),
            padded=not bool(real.all()),
        )
        return ids.to(device), context.to(device)

    def _prefix(self, row: Row, shared: int) -> Prefix:
        """Keys and values of a row's first `shared` tokens under the engine's edits and its own; run once, then kept."""
        request = row.request
        tokens = request.tokens[:shared]
        length = len(request.tokens)
        start = length - int(self._template_lengths([row]))
        own = request.edits or {}
        touching = any(edit.first_position(length, start) < shared for edit in own.values())
        key = (id(request.edits) if touching else 0, int(self.model.rotation.regime(torch.tensor(length))), tokens)
        keep = not tapped(self.model.hf)  # an intervention from outside is on, and may be another one next time
        known = self._prefixes.get(key)
        if known is not None and keep:
            self._prefixes.move_to_end(key)
            return known[1]
        device = self.model.device
        context = TokenContext(
            positions=torch.arange(shared, device=device)[None],
            real=torch.ones(1, shared, dtype=torch.bool, device=device),
            prompt_length=torch.tensor([length], device=device),
            template_start=torch.tensor([start], device=device),
            rows=torch.tensor([-1], device=device),
            padded=False,
        )
        cache = prefix_cache(None, 0, self.model.layout.n_layers)
        edits = merge(self.edits, own if touching else {})
        with declared(context), tap(self.model, edits):
            run_decoder(self.model, torch.tensor([tokens], device=device), context.positions, shared, cache)
        self._prefixes[key] = (request.edits, taken(cache))
        if len(self._prefixes) > KEPT_PREFIXES:
            self._prefixes.popitem(last=False)
        return self._prefixes[key][1]


def _by_length(request: Request) -> tuple[int, tuple[int, ...]]:
    """The order in which prompts are run: shortest first, the same ones side by side."""
    return len(request.tokens), request.tokens


def _lent(prefixes: Sequence[Prefix]) -> Prefix:
    """One prefix for a batch: of one row where all rows have the same, else a row for each."""
    first = prefixes[0]
    if all(prefix is first for prefix in prefixes):
        return first

    def stacked(layer: int, side: int) -> Tensor:
        return torch.cat([prefix[layer][side] for prefix in prefixes])  # type: ignore[index]

    return [None if kv is None else (stacked(i, 0), stacked(i, 1)) for i, kv in enumerate(first)]


def _logprob(logits: Float[Tensor, " vocab"], token: int, n_top: int) -> TokenLogprob:
    values = torch.log_softmax(logits.double(), -1)
    top = values.topk(min(n_top, len(values)))
    return TokenLogprob(token, float(values[token]), tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)))


def advance(model: ChatModel, row: Row, token: int) -> None:
    """Add a token to what a row has said, and note whether that ends it."""
    request = row.request
    row.said.append(token)
    ended = token in model.eos_ids and not request.ignore_eos
    if row.text is not None and not ended:
        row.text.push(token)
    reason: FinishReason | None = None
    if ended or (row.text is not None and row.text.stopped):
        reason = "stop"
    elif request.until is not None and request.until(text_of(model, row.said)):
        reason = "until"
    elif len(row.said) >= request.max_new_tokens:
        reason = "length"
    if reason is not None and row.text is not None:
        row.text.finish()
    if request.probe is not None and not ended:
        row.closing = reason
    else:
        row.finish_reason = reason


def text_of(model: ChatModel, tokens: Sequence[int]) -> str:
    """The text of generated tokens, special ones left out."""
    return model.tokenizer.decode(list(tokens), skip_special_tokens=True)


def completion_of(model: ChatModel, row: Row) -> Completion:
    """What a finished row became."""
    text = text_of(model, row.said) if row.text is None else str(row.text)
    return Completion(text, tuple(row.said), row.finish_reason or "length")


def generate_tokens(
    model: ChatModel,
    prompts: Sequence[TokenIds],
    edits: Edits | None = None,
    *,
    max_new_tokens: int = 24,
    until: Callable[[str], bool] | None = None,
    n_slots: int = SLOTS,
    progress: Callable[[int, int], None] | None = None,
    choose: Choose = greedy,
    ignore_eos: bool = False,
    own_edits: Sequence[Edits | None] | None = None,
    sampling: Sampling | None = None,
) -> list[Completion]:
    """Completions of tokenised prompts, in their order; greedy unless `choose` and `sampling` say otherwise.

    Prompts are run shortest first in groups of at most `n_slots`; a place that becomes free is filled at once when a
    quarter of the batch is free. Row i of the edits' context is prompt i. `own_edits` holds one more mapping of edits (or
    None) for each prompt, which reaches that prompt alone; share one mapping object where prompts are edited alike. The
    plain path (RHAT_SLOW=1, or a model that the fast path does not suit) runs whole sequences again for every token.
    """
    if own_edits is not None and len(own_edits) != len(prompts):
        raise PromptError(f"own_edits: got {len(own_edits)}, expected one for each of {len(prompts)} prompts")
    requests = [
        Request(
            tuple(p),
            max_new_tokens,
            row=i,
            until=until,
            ignore_eos=ignore_eos,
            edits=own_edits[i] if own_edits is not None else None,
            sampling=None if sampling is None else replace(sampling, seed=sampling.seed + i),
        )
        for i, p in enumerate(prompts)
    ]
    if not requests:
        return []
    longest = max(len(r.tokens) for r in requests) + max_new_tokens
    if model.memory is not None:
        n_slots = min(n_slots, model.room["max_rows"])
    engine = Engine(
        model,
        edits=edits,
        n_slots=min(n_slots, len(requests)),
        max_length=-(-longest // 8) * 8,
        choose=choose,
    )
    order = sorted(requests, key=_by_length)
    done: dict[int, Completion] = {}

    def collect(rows: Sequence[Row]) -> None:
        finished = [row for row in rows if row.finish_reason is not None]
        for row in finished:
            done[row.request.row] = completion_of(model, row)
        if progress and finished:
            progress(len(done), len(requests))

    while order or engine.rows:
        if order and engine.free >= min(max(1, engine.cache.n_slots // 4), len(order)):
            batch, order = order[: engine.free], order[engine.free :]
            collect(engine.add(batch))
        collect(engine.step())
    return [done[i] for i in range(len(requests))]


def generate(
    model: ChatModel,
    prompts: Sequence[ChatPrompt],
    intervention: AnyIntervention | Edits | None = None,
    *,
    max_new_tokens: int = 128,
    until: Callable[[str], bool] | None = None,
    sampling: Sampling | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Answers to instructions or conversations, in their order. `until(text)` stops a row once it returns True.

    `intervention` is one of any kind, or the edits of one.

    Greedy unless `sampling` says otherwise; prompt number i then has the seed `sampling.seed + i`.

    Raises:
        PromptError: if there are no prompts or fewer than one token is asked for.
    """
    if max_new_tokens < 1:
        raise PromptError(f"max_new_tokens: got {max_new_tokens}, expected 1 or more")
    tokens = model.tokenize(prompts)
    own = edits_per_prompt(intervention, model, tokens) if isinstance(intervention, PerPrompt) else None
    ready = intervention.edits(model) if own is None and isinstance(intervention, AnyIntervention) else None
    return generate_tokens(
        model,
        tokens,
        intervention if isinstance(intervention, Mapping) else ready,
        own_edits=own,
        max_new_tokens=max_new_tokens,
        until=until,
        choose=greedy if sampling is None else as_requested,
        sampling=sampling,
        progress=progress,
    )
