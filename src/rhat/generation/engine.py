"""The decode engine: rows join and leave a batch; one engine serves study and server alike.

Rows live in the slots of a preallocated cache, each at its own length, so nothing is padded, grown or copied while
decoding. A row leaves as soon as it has ended, has its number of tokens, or its caller has seen enough (`until`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.errors import PromptError
from rhat.model.chat import ChatModel
from rhat.model.forward import Plan, TokenIds, head, plain_forward, plan, prefill, run_decoder, slow
from rhat.model.kv import SlotCache
from rhat.model.positions import TokenContext
from rhat.model.tap import Edits, declared, tap

FinishReason = Literal["stop", "length", "until", "cancelled"]
Choose = Callable[[Float[Tensor, "rows vocab"], Sequence["Row"]], Int[Tensor, " rows"]]


@dataclass(frozen=True)
class Completion:
    """An answer: its text without special tokens, its tokens, and why it ended."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason


@dataclass(frozen=True, eq=False)
class Request:
    """A tokenised prompt to be answered.

    row     an id of the caller's, given to edits as the context's row id
    until   stops the row once it returns True of the text so far
    """

    tokens: tuple[int, ...]
    max_new_tokens: int
    row: int = 0
    until: Callable[[str], bool] | None = None
    ignore_eos: bool = False


@dataclass(eq=False)
class Row:
    """A request in the batch, and what it has said so far."""

    request: Request
    said: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    @property
    def length(self) -> int:
        """Tokens whose keys are in the cache: the prompt and all but the newest of the said ones."""
        return len(self.request.tokens) + max(len(self.said) - 1, 0)


def greedy(logits: Float[Tensor, "rows vocab"], _rows: Sequence[Row]) -> Int[Tensor, " rows"]:
    """The likeliest token of each row."""
    return logits.argmax(-1)


class Engine:
    """A batch that requests join (`add`) and leave (`step` returns those that finished).

    `edits` apply to every row; an edit may dispatch by the context's row ids. One engine belongs to one thread.
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        edits: Edits | None = None,
        n_slots: int = 64,
        max_length: int = 512,
        choose: Choose = greedy,
    ) -> None:
        self.model = model
        self.edits = edits or {}
        self.choose = choose
        self.cache = SlotCache(model.layout.n_layers, n_slots, max_length)
        self.rows: list[Row] = []

    @property
    def free(self) -> int:
        """Slots that are not in use."""
        return self.cache.n_slots - len(self.rows)

    def add(self, requests: Sequence[Request]) -> list[Row]:
        """Prefill requests, let each say its first token, and keep them; returns their rows, finished ones included.

        Raises:
            PromptError: if there are more than free slots, or a request is longer than the slots.
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
        numbered = _renumbered(
            plan([r.tokens for r in requests], self.model.template_length, device=self.model.device),
            [r.row for r in requests],
        )
        joined: list[Row] = []
        for done in prefill(self.model, numbered.plan, self.edits):
            members = [requests[i] for i in numbered.members[done.index]]
            rows = [Row(request) for request in members]
            self._say(rows, done.hidden)
            for position, row in enumerate(rows):
                joined.append(row)
                if row.finish_reason is None:
                    self.cache.put(
                        len(self.rows), position, done.prefix_kv, done.new_kv,
                        numbered.plan.prefix_length, int(done.batch.lengths[position]),
                    )
                    self.rows.append(row)
        return joined

    def step(self) -> list[Row]:
        """Feed every row's newest token, let each say one more; returns the rows that finished, which have left."""
        if not self.rows:
            return []
        rows, model = self.rows, self.model
        device = model.device
        positions = torch.tensor([row.length for row in rows], device=device)
        lengths = torch.tensor([len(row.request.tokens) for row in rows], device=device)
        context = TokenContext(
            positions=positions[:, None],
            real=torch.ones(len(rows), 1, dtype=torch.bool, device=device),
            prompt_length=lengths,
            template_start=lengths - model.template_length,
            rows=torch.tensor([row.request.row for row in rows], device=device),
            padded=False,
        )
        used = int(positions.max()) + 1
        self.cache.at(positions, used)
        newest = torch.tensor([[row.said[-1]] for row in rows], device=device)
        with torch.no_grad():
            with declared(context), tap(model.hf, model.layout, self.edits):
                hidden = run_decoder(model, newest, positions[:, None], used, self.cache)[:, -1]
            self._say(rows, hidden)
        return self._leave()

    def cancel(self, row: Row) -> None:
        """Take a row out; its place is free at once."""
        if row.finish_reason is None:
            row.finish_reason = "cancelled"
            self._leave()

    def _leave(self) -> list[Row]:
        finished = [row for row in self.rows if row.finish_reason is not None]
        for row in finished:
            slot = self.rows.index(row)
            last = self.rows.pop()
            if slot < len(self.rows):
                self.rows[slot] = last
                self.cache.move(len(self.rows), slot, last.length)
        return finished

    def _say(self, rows: Sequence[Row], hidden: Float[Tensor, "rows d_model"]) -> None:
        with torch.no_grad():
            chosen = self.choose(head(self.model, hidden), rows).tolist()
        for row, token in zip(rows, chosen, strict=True):
            advance(self.model, row, token)


def advance(model: ChatModel, row: Row, token: int) -> None:
    """Add a token to what a row has said, and note whether that ends it."""
    request = row.request
    row.said.append(token)
    if token in model.eos_ids and not request.ignore_eos:
        row.finish_reason = "stop"
    elif request.until is not None and request.until(text_of(model, row.said)):
        row.finish_reason = "until"
    elif len(row.said) >= request.max_new_tokens:
        row.finish_reason = "length"


def text_of(model: ChatModel, tokens: Sequence[int]) -> str:
    """The text of generated tokens, special ones left out."""
    return model.tokenizer.decode(list(tokens), skip_special_tokens=True)


def completion_of(model: ChatModel, row: Row) -> Completion:
    """What a finished row became."""
    return Completion(text_of(model, row.said), tuple(row.said), row.finish_reason or "length")


@dataclass(frozen=True, eq=False)
class _Numbered:
    plan: Plan
    members: tuple[tuple[int, ...], ...]  # which requests each batch holds


def _renumbered(the_plan: Plan, ids: Sequence[int]) -> _Numbered:
    """The plan with the callers' row ids in its contexts."""
    members = tuple(tuple(batch.rows.tolist()) for batch in the_plan.batches)
    batches = tuple(
        replace(batch, context=replace(batch.context, rows=torch.tensor([ids[i] for i in which], device=batch.rows.device)))
        for batch, which in zip(the_plan.batches, members, strict=True)
    )
    return _Numbered(replace(the_plan, batches=batches), members)


def generate_tokens(
    model: ChatModel,
    prompts: Sequence[TokenIds],
    edits: Edits | None = None,
    *,
    max_new_tokens: int = 24,
    until: Callable[[str], bool] | None = None,
    n_slots: int = 64,
    progress: Callable[[int, int], None] | None = None,
    choose: Choose = greedy,
    ignore_eos: bool = False,
) -> list[Completion]:
    """Greedy completions of tokenised prompts, in their order.

    Prompts are run longest first in groups of at most `n_slots`; a place that becomes free is filled at once when a
    quarter of the batch is free. Row i of the edits' context is prompt i. The plain path (RHAT_SLOW=1, or a model that
    the fast path does not suit) runs whole sequences again for every token.
    """
    requests = [
        Request(tuple(p), max_new_tokens, row=i, until=until, ignore_eos=ignore_eos) for i, p in enumerate(prompts)
    ]
    if slow() or not model.fast:
        return [completion_of(model, row) for row in _plain(model, requests, edits or {}, choose, progress)]
    order = sorted(requests, key=lambda r: len(r.tokens))
    longest = max(len(r.tokens) for r in requests) + max_new_tokens
    engine = Engine(
        model, edits=edits, n_slots=min(n_slots, len(requests)), max_length=-(-longest // 8) * 8, choose=choose
    )
    done: dict[int, Completion] = {}

    def collect(rows: Sequence[Row]) -> None:
        for row in rows:
            done[row.request.row] = completion_of(model, row)
        if progress and rows:
            progress(len(done), len(requests))

    while order or engine.rows:
        if order and engine.free >= min(max(1, engine.cache.n_slots // 4), len(order)):
            batch, order = order[: engine.free], order[engine.free :]
            collect([row for row in engine.add(batch) if row.finish_reason is not None])
        collect(engine.step())
    return [done[i] for i in range(len(requests))]


def _plain(
    model: ChatModel, requests: Sequence[Request], edits: Edits, choose: Choose, progress: Any, group: int = 32
) -> Iterator[Row]:
    """Decoding with nothing clever: every step runs whole left-padded sequences."""
    for begin in range(0, len(requests), group):
        rows = [Row(r) for r in requests[begin : begin + group]]
        while live := [row for row in rows if row.finish_reason is None]:
            lengths = torch.tensor([len(row.request.tokens) for row in live])
            logits = plain_forward(
                model, [(*row.request.tokens, *row.said) for row in live],
                torch.tensor([row.request.row for row in live]), edits, lengths,
            )
            for row, token in zip(live, choose(logits, live).tolist(), strict=True):
                advance(model, row, token)
        yield from rows
        if progress:
            progress(begin + len(rows), len(requests))


def generate(
    model: ChatModel,
    prompts: Sequence[str],
    edits: Edits | None = None,
    *,
    max_new_tokens: int = 128,
    until: Callable[[str], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Greedy answers to chat prompts, in their order. `until(text)` stops a row once it returns True.

    Raises:
        PromptError: if there are no prompts or fewer than one token is asked for.
    """
    if max_new_tokens < 1:
        raise PromptError(f"max_new_tokens: got {max_new_tokens}, expected 1 or more")
    return generate_tokens(
        model, model.tokenize(prompts), edits, max_new_tokens=max_new_tokens, until=until, progress=progress
    )
