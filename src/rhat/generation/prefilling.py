"""Prefill of the engine: prompts that join, in groups that share their first tokens, and blocks that none of them edits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.generation.batchedits import batch_edits
from rhat.generation.rows import Request, Row
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits, Read, first_layer
from rhat.model.kv import KeyValues
from rhat.model.passes import run_tokens
from rhat.model.plans import Batch, common_prefix, make_batch
from rhat.model.prefix import PrefixCache, Wanted
from rhat.model.tap import tapped, whole_prompts
from rhat.sites import Site


def by_length(request: Request) -> tuple[int, tuple[int, ...]]:
    """The order in which prompts are run: shortest first, the same ones side by side."""
    return len(request.tokens), request.tokens


def template_lengths(model: ChatModel, rows: Sequence[Row]) -> Int[Tensor, " rows"]:
    """Template tokens at the end of each row's prompt."""
    given = [row.request.template_length for row in rows]
    return torch.tensor([model.template_length if length is None else length for length in given])


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that are run in one pass: their first `shared` tokens are the same, and no block below `start` is edited."""

    rows: tuple[Row, ...]
    shared: int
    start: int


@dataclass(frozen=True, eq=False)
class JoinedRows:
    """A group after its pass: hidden states of the last tokens, keys and values of each row's prefix and of the rest."""

    hidden: Float[Tensor, "rows d_model"]
    prefixes: list[KeyValues] | None
    new_kv: KeyValues


class Prefill:
    """How prompts join an engine whose `edits` apply to all rows. Prefixes that were run are kept for those that come later."""

    def __init__(self, model: ChatModel, edits: Edits) -> None:
        self.model = model
        self.edits = edits
        self.prefixes = PrefixCache(model, edits)
        self._template_prefix: tuple[int, ...] | None = None

    @property
    def template_prefix(self) -> tuple[int, ...]:
        """The tokens that chat prompts of this model begin with, whatever the instruction."""
        if self._template_prefix is None:
            probes = self.model.tokenize(["Name a river in Peru", "why is 7 odd?"])
            self._template_prefix = probes[0][: common_prefix(probes)]
        return self._template_prefix

    def groups(self, rows: Sequence[Row]) -> list[Group]:
        """Rows in the groups in which they are run, each within the model's `room`."""
        most = self.model.room["max_tokens"]
        found: list[Group] = []
        for shared, members in self._by_prefix(rows):
            late, start = self._late(members)
            once = set(late)
            rest = [row for row in members if row not in once]
            for some, layer in ((late, start), (rest, 0)):
                group: list[Row] = []
                for row in sorted(some, key=lambda row: by_length(row.request)):
                    # shortest first: this row is as long as the padded batch would be
                    if group and (len(group) + 1) * (len(row.request.tokens) - shared) > most:
                        found.append(Group(tuple(group), shared, layer))
                        group = []
                    group.append(row)
                if group:
                    found.append(Group(tuple(group), shared, layer))
        return found

    def _by_prefix(self, rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
        """Rows in groups that share their first tokens, with how many those are.

        Several rows share what they have in common; otherwise what all chats with this template begin with. Each row keeps
        at least its template tokens, and one, to itself.
        """
        if not rows or whole_prompts(self.model.hf):
            return [(0, list(rows))] if rows else []

        def room(row: Row) -> int:
            return len(row.request.tokens) - max(int(template_lengths(self.model, [row])), 1)

        first = self.template_prefix
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

    def _late(self, rows: Sequence[Row]) -> tuple[list[Row], int]:
        """Rows whose prompts are others' too, all edited from some layer on at the earliest, and that layer: blocks below it
        run once for each prompt."""
        # An intervention from outside, or a probe, may act or read below that layer: such rows run every block.
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

    def run(self, group: Group) -> JoinedRows:
        """Run the rows of a group."""
        rows, shared, start = group.rows, group.shared, group.start
        prefixes = self._prefixes(rows, shared) if shared else None
        batch = self._batch(rows, shared)
        residual, below = self._share_unedited_layers(rows, shared, start) if start else (None, None)
        done = run_tokens(
            self.model,
            batch.ids,
            batch.context,
            batch_edits(self.edits, rows, batch.context),
            prefix_kv=None if prefixes is None else _stacked(prefixes),
            prefix_length=shared,
            start=start,
            residual=residual,
            below=below,
            ends=batch.lengths,
        )
        return JoinedRows(done.last(batch.lengths), prefixes, done.new_kv)

    def _share_unedited_layers(
        self, rows: Sequence[Row], shared: int, start: int
    ) -> tuple[Float[Tensor, "rows seq d_model"], KeyValues]:
        """What blocks below `start`, where nothing is edited, give for each row: resid_pre of `start`, keys and values.

        Each prompt is run once, whatever the number of its rows.
        """
        by_prompt = {row.request.tokens: row for row in rows}
        different = list(by_prompt.values())
        batch = self._batch(different, shared)
        kept: list[Tensor] = []
        done = run_tokens(
            self.model,
            batch.ids,
            batch.context,
            {Site("resid_pre", start): Read(lambda x, _context: kept.append(x.clone()))},
            prefix_kv=_stacked(self._prefixes(different, shared)) if shared else None,
            prefix_length=shared,
            stop=start,
        )
        place = {tokens: i for i, tokens in enumerate(by_prompt)}
        which = torch.tensor([place[row.request.tokens] for row in rows])

        def for_each(x: Tensor) -> Tensor:
            return x[which.to(x.device)]

        return for_each(kept[0]), [None if kv is None else (for_each(kv[0]), for_each(kv[1])) for kv in done.new_kv]

    def _batch(self, rows: Sequence[Row], shared: int) -> Batch:
        """Prompts without their first `shared` tokens, padded on the right."""
        requests = [row.request for row in rows]
        lengths = template_lengths(self.model, rows)
        return make_batch([r.tokens for r in requests], [r.row for r in requests], shared, lengths, self.model.device)

    def _prefixes(self, rows: Sequence[Row], shared: int) -> list[KeyValues]:
        """Keys and values of each row's first `shared` tokens under the engine's edits and its own."""
        own = template_lengths(self.model, rows).tolist()
        wanted = [Wanted(row.request.tokens, n, row.request.edits) for row, n in zip(rows, own, strict=True)]
        return self.prefixes.get(wanted, shared)


def _stacked(prefixes: Sequence[KeyValues]) -> KeyValues:
    """One prefix for a batch: of one row where all rows have the same, else a row for each."""
    first = prefixes[0]
    if all(prefix is first for prefix in prefixes):
        return first
    found: KeyValues = []
    for layer in zip(*prefixes, strict=True):
        pairs = [kv for kv in layer if kv is not None]
        found.append((torch.cat([k for k, _ in pairs]), torch.cat([v for _, v in pairs])) if pairs else None)
    return found
