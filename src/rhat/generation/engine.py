"""The decode engine: rows join and leave a batch; one engine serves study and server alike.

Rows live in the slots of a preallocated cache, each at its own length, so nothing is padded, grown or copied while
decoding. A row leaves as soon as it has ended, has its number of tokens, or its caller has seen enough (`until`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import PromptError
from rhat.generation.batchedits import batch_edits
from rhat.generation.choosing import logprob, sample_per_request
from rhat.generation.prefilling import Prefill, template_lengths
from rhat.generation.rows import Choose, Request, Row
from rhat.generation.stepping import decoded
from rhat.generation.text import Text
from rhat.model.chat import ChatModel
from rhat.model.decoder import slow
from rhat.model.edits import Edits, merge
from rhat.model.finite import faulty
from rhat.model.kv import SlotCache
from rhat.model.origin import not_finite
from rhat.model.passes import lm_head
from rhat.model.plain import left_padded, plain_last_positions


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
        choose: Choose = sample_per_request,
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
        self.prefill = Prefill(model, self.edits)

    @property
    def free(self) -> int:
        """Slots that are not in use."""
        return self.cache.n_slots - len(self.rows)

    def add(self, requests: Sequence[Request]) -> list[Row]:
        """Prefill requests, generate each one's first token, and keep them; returns their rows, in order, finished ones included.

        Raises:
            PromptError: if there are more than free slots, or a request is empty, or longer than the slots.
            NonFiniteError: if logits are no distribution, unless such rows are isolated.
        """
        if len(requests) > self.free:
            raise PromptError(f"engine: got {len(requests)} requests, {self.free} slots are free; step first")
        for request in requests:
            need = len(request.tokens) + request.most
            if need > self.cache.max_length:
                raise PromptError(
                    f"prompt of {len(request.tokens)} tokens and {request.most} new ones: "
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
                if not self.plain:
                    self._prefill(rows)
                elif rows:
                    self._append_tokens(rows, self._plain_logits(rows))
                    self.rows += rows
        except BaseException:
            del self.rows[present:]
            raise
        self._pop_finished()
        return rows

    def step(self) -> list[Row]:
        """Feed every row's newest token, generate one more; returns the rows that finished, which have left."""
        if not self.rows:
            return []
        with torch.no_grad():
            logits = self._plain_logits(self.rows) if self.plain else lm_head(self.model, self._decoded())
            going_on = [i for i, row in enumerate(self.rows) if row.pending_reason is None]
            for row in self.rows:
                row.finish_reason = row.pending_reason
            if len(going_on) == len(self.rows):
                self._append_tokens(self.rows, logits)
            elif going_on:
                self._append_tokens([self.rows[i] for i in going_on], logits[going_on])
        return self._pop_finished()

    def cancel(self, row: Row) -> None:
        """Take a row out; its place is free at once."""
        if row.finish_reason is None:
            row.finish_reason = "cancelled"
            self._pop_finished()

    def _pop_finished(self) -> list[Row]:
        """Take out the rows that have ended. The last row takes the place of one that leaves, so that slots stay dense: a
        step computes the first `len(rows)` of them."""
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

    def _append_tokens(self, rows: Sequence[Row], logits: Float[Tensor, "rows vocab"]) -> None:
        chosen = self.choose(logits, rows)
        both = torch.stack([chosen, faulty(logits).to(chosen)]).tolist()  # one read-back for the two
        for index, (row, token, fault) in enumerate(zip(rows, *both, strict=True)):
            if fault:
                self._fail(row)
                continue
            if row.request.logprobs is not None:
                row.logprobs.append(logprob(logits[index], token, row.request.logprobs))
            row.append(token, self.model)

    def _fail(self, row: Row) -> None:
        row.error = not_finite(
            self.model,
            row.sequence,
            merge(self.edits, row.request.edits or {}),
            row=row.request.row,
            prompt_length=len(row.request.tokens),
            template_length=int(template_lengths(self.model, [row])),
        )
        if not self.isolate:
            raise row.error
        row.finish_reason = "failed"

    def _prefill(self, rows: Sequence[Row]) -> None:
        """Run prompts, generate each one's first token, and put those that go on into slots."""
        for group in self.prefill.groups(rows):
            done = self.prefill.run(group)
            self._append_tokens(group.rows, lm_head(self.model, done.hidden))
            for index, row in enumerate(group.rows):
                if row.finish_reason is None:
                    prefix = None if done.prefixes is None else done.prefixes[index]
                    own = len(row.request.tokens) - group.shared
                    self.cache.put(len(self.rows), index, prefix, done.new_kv, group.shared, own)
                    self.rows.append(row)

    def _decoded(self) -> Float[Tensor, "rows d_model"]:
        """Last hidden states of all rows after their newest tokens."""
        return decoded(self.model, self.rows, self.cache, self.edits)

    def _plain_logits(self, rows: Sequence[Row]) -> Float[Tensor, "rows vocab"]:
        """Logits after every row's newest token, by passes over whole sequences padded on the left (or of equal length, where
        the model does not support padding)."""
        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            by_length.setdefault(len(row.sequence), []).append(index)
        if len(by_length) > 1 and not self.model.supports_padding:
            order = torch.tensor([index for members in by_length.values() for index in members])
            parts = [self._plain_logits([rows[i] for i in members]) for members in by_length.values()]
            return torch.cat(parts)[order.argsort().to(parts[0].device)]
        ids = torch.tensor([row.request.row for row in rows])
        lengths = torch.tensor([len(row.request.tokens) for row in rows])
        own = template_lengths(self.model, rows)
        given = left_padded(self.model, [row.sequence for row in rows], ids, lengths, own)
        edits = batch_edits(self.edits, rows, given[-1])
        return plain_last_positions(self.model, *given, edits)[:, -1]
