"""Options under many edits: each prompt is run once under each, from the first edited block on, then its options' tokens alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.model.decoder import Decoder, slow
from rhat.model.dispatch import Group, in_shares, per_row
from rhat.model.edits import Edits, first_layer
from rhat.model.finite import faulty
from rhat.model.kv import KeyValues
from rhat.model.origin import not_finite
from rhat.model.passes import NO_ENDS, lm_head, run_tokens
from rhat.model.plans import common_prefix, make_batch
from rhat.model.positions import TokenContext
from rhat.model.precision import wide
from rhat.model.tap import tapped
from rhat.scoring.capability.unedited import Ahead, OneLength, Question, after, keeper, rows_of, run_unedited

BLOCK = 32  # rows whose vocabulary is taken to float64 at once
BYTES = (
    2**27
)  # of the unedited run's residual streams that are kept at once: questions beyond that come in a further piece


def can_share(model: Decoder, questions: Sequence[Question], conditions: Sequence[Edits]) -> bool:
    """Whether options may be run in one pass after a prompt: nothing reads, all edits take each token by itself, and tokens are
    turned alike however much follows."""
    free = model.fast and not slow() and not tapped(model.hf)
    ends = [n for q in questions for n in (len(q.prompt), len(q.prompt) + max(map(len, q.options)))]
    alone = (getattr(edit, "tokenwise", False) for edits in conditions for edit in edits.values())
    return free and all(alone) and model.rotation.alike(ends)


@dataclass(eq=False)
class Sums:
    """Of a question under a condition: log-probabilities that were added up, option by option; `whole` where none is missing.

    A sum that lacks tokens is an upper bound: none of them adds anything above 0.
    """

    question: Question
    sums: list[float]
    whole: list[bool]

    @property
    def scores(self) -> list[float]:
        """Mean log-probability a token, nats, or an upper bound of it."""
        return [total / len(option) for total, option in zip(self.sums, self.question.options, strict=True)]

    def missing(self, first: bool) -> list[int]:
        """The options whose tokens are still to be run; of a question with a right one only those that can change whether its
        score is the highest: `first` that one, then those that may reach it."""
        right = self.question.right
        rest = [i for i, whole in enumerate(self.whole) if not whole]
        if right is None:
            return rest if first else []
        scores = self.scores
        if any(self.whole[i] and score >= scores[right] for i, score in enumerate(scores) if i != right):
            return []  # it is not the highest, whatever follows
        return [i for i in rest if (i == right) == first and (first or scores[i] >= scores[right])]


def sums_under(
    model: Decoder,
    questions: Sequence[Question],
    conditions: Sequence[Edits],
    pairs: Sequence[tuple[int, int]],
    tell: Callable[[int], None] = lambda _done: None,
) -> dict[tuple[int, int], Sums]:
    """What options add up to in each pair of a question and a condition, both by number; `can_share` says whether this may be asked.

    The unedited model is run once, and its residual stream is kept at each condition's first edited block: bytes are tokens ·
    d_model · itemsize for each such block, `BYTES` at most. Of a question with a right option, options are run only as far as it
    takes to know whether that one has the highest score.
    """
    last = model.n_layers - 1
    starts = [min(first_layer(edits), last) for edits in conditions]
    layers = sorted({start for start in starts if start})
    prompts = [q.prompt for q in questions]
    room = min(map(len, prompts)) - max(model.template_length, 1)
    shared = max(0, min(common_prefix(prompts), room))
    found: dict[tuple[int, int], Sums] = {}
    wanted = set(pairs)
    for piece in _pieces(model, questions, shared, len(layers)):
        run = _Run(model, questions, conditions, shared, found)
        some = run.unedited(piece, layers)
        for start in sorted(set(starts)):
            run.start = start
            at = [c for c, begin in enumerate(starts) if begin == start]
            each = max(1, model.room["max_tokens"] // max(1, shared))
            for those in (at[i : i + each] for i in range(0, len(at), each)):
                prefix = run.prefixes(those)
                for one in some:
                    mine = [(row, c) for row, q in enumerate(one.which) for c in those if (q, c) in wanted]
                    for part in run.cut(mine, one.batch.ids.shape[1]):
                        run.answered(one, part, those, prefix)
                        tell(len(found))
    return found


def _pieces(model: Decoder, questions: Sequence[Question], shared: int, n_layers: int) -> Iterator[list[int]]:
    """Questions, shortest first, as many at once as may be kept."""
    limit = BYTES if model.memory is None else min(BYTES, model.memory // 16)
    a_token = n_layers * model.d_model * model.dtype.itemsize
    piece: list[int] = []
    held = 0
    for i in sorted(range(len(questions)), key=lambda i: len(questions[i].prompt)):
        own = (len(questions[i].prompt) - shared + questions[i].steps) * a_token
        if piece and held + own > limit:
            yield piece
            piece, held = [], 0
        piece.append(i)
        held += own
    if piece:
        yield piece


@dataclass(eq=False)
class _Run:
    """The passes over one piece of questions."""

    model: Decoder
    questions: Sequence[Question]
    conditions: Sequence[Edits]
    shared: int
    found: dict[tuple[int, int], Sums]
    start: int = 0

    def __post_init__(self) -> None:
        self.kept: dict[int, Tensor] = {}
        self.rows = 2 * self.model.room["max_rows"]

    def unedited(self, piece: Sequence[int], layers: Sequence[int]) -> list[OneLength]:
        """The questions of a piece by length, with what the unedited model gives at these layers."""
        model, shared = self.model, self.shared
        kv = None
        if shared and layers:
            context = TokenContext.for_prefix(shared, self._shortest, model.template_length, device=model.device)
            kv = run_tokens(model, self._prefix_ids, context, keeper(layers, self.kept), stop=max(layers)).new_kv
        by_length: dict[int, list[int]] = {}
        for i in piece:
            by_length.setdefault(len(self.questions[i].prompt), []).append(i)
        found = []
        for length, members in by_length.items():
            each = max(1, min(self.rows, model.room["max_tokens"] // (length - shared)))
            for some in (members[i : i + each] for i in range(0, len(members), each)):
                asked = [self.questions[i] for i in some]
                batch = make_batch([q.prompt for q in asked], some, shared, model.template_length, model.device)
                found.append(OneLength(tuple(some), length, batch, Ahead.of(asked, model.device)))
                run_unedited(model, found[-1], layers, kv, shared, self.rows)
        return found

    @property
    def _prefix_ids(self) -> Tensor:
        return torch.tensor([self.questions[0].prompt[: self.shared]], device=self.model.device)

    @property
    def _shortest(self) -> int:
        return min(len(q.prompt) for q in self.questions)

    def prefixes(self, those: Sequence[int]) -> KeyValues | None:
        """Keys and values of what all prompts begin with, a row for each condition, of the blocks that are run."""
        if not self.shared:
            return None
        model, n = self.model, len(those)
        context = TokenContext.for_prefix(self.shared, self._shortest, model.template_length, device=model.device)
        return run_tokens(
            model,
            self._prefix_ids.repeat(n, 1),
            context.repeated(n),
            in_shares([self.conditions[c] for c in those]),
            start=self.start,
            residual=self.kept[self.start].repeat(n, 1, 1) if self.start else None,
            ends=NO_ENDS,
        ).new_kv

    def cut(self, pairs: Sequence[tuple[int, int]], tokens: int) -> Iterator[Sequence[tuple[int, int]]]:
        """Pairs in parts that one pass has room for."""
        each = max(1, min(self.rows, self.model.room["max_tokens"] // tokens))
        for i in range(0, len(pairs), each):
            yield pairs[i : i + each]

    def answered(
        self,
        one: OneLength,
        part: Sequence[tuple[int, int]],
        those: Sequence[int],
        prefix: KeyValues | None,
    ) -> None:
        """One pass over the prompts of some pairs, each a row of the batch and a condition; then over options."""
        model, batch = self.model, one.batch
        rows = torch.tensor([row for row, _ in part])
        here = rows.to(batch.ids.device)
        context = batch.context.select(here)
        mine = None if prefix is None else rows_of(prefix, torch.tensor([those.index(c) for _, c in part]))
        done = run_tokens(
            model,
            batch.ids[here],
            context,
            self._edits([c for _, c in part]),
            prefix_kv=mine,
            prefix_length=self.shared,
            start=self.start,
            residual=self._at(one.prompts, rows),
            ends=batch.lengths[here],
        )
        asked = [self.questions[one.which[row]] for row, _ in part]
        likely = self._likely(done.hidden[:, -1], [(one.which[row], c, ()) for row, c in part])
        made = []
        for question, (row, c), values in zip(asked, part, likely, strict=True):
            sums = Sums(
                question, values[[o[0] for o in question.options]].tolist(), [len(o) == 1 for o in question.options]
            )
            made.append(sums)
            self.found[one.which[row], c] = sums
        kv = after(mine, done.new_kv)
        for first in (True, False):
            wanted = [(at, i) for at, sums in enumerate(made) for i in sums.missing(first)]
            for begin in range(0, len(wanted), self.rows):
                self._options(one, part, made, kv, wanted[begin : begin + self.rows])

    def _options(
        self,
        one: OneLength,
        part: Sequence[tuple[int, int]],
        made: Sequence[Sums],
        kv: KeyValues,
        wanted: Sequence[tuple[int, int]],
    ) -> None:
        """One pass over tokens of options, each of a pair: what they are likely to be is added up."""
        ahead = one.ahead
        which = torch.tensor([ahead.place[part[at][0], i] for at, i in wanted])
        width = int(ahead.lengths[which].max())
        done = run_tokens(
            self.model,
            ahead.ids[which.to(ahead.ids.device), :width],
            ahead.context(which, width, one.batch.context, one.length),
            self._edits([part[at][1] for at, _ in wanted]),
            prefix_kv=rows_of(kv, torch.tensor([at for at, _ in wanted])),
            prefix_length=one.length,
            start=self.start,
            residual=self._at(one.options, which, width),
        )
        real = [
            (index, at, i, step)
            for index, (at, i) in enumerate(wanted)
            for step in range(len(made[at].question.options[i]) - 1)
        ]
        where = torch.tensor([index for index, *_ in real]), torch.tensor([step for *_, step in real])
        states = done.hidden[where[0].to(done.hidden.device), where[1].to(done.hidden.device)]
        said = [
            (one.which[part[at][0]], part[at][1], made[at].question.options[i][: step + 1]) for _, at, i, step in real
        ]
        for values, (_, at, i, step) in zip(self._likely(states, said), real, strict=True):
            made[at].sums[i] += float(values[made[at].question.options[i][step + 1]])
        for at, i in wanted:
            made[at].whole[i] = True

    def _edits(self, conditions: Sequence[int]) -> Edits:
        """The edits of a pass whose row i is under the i-th of these."""
        members: dict[int, list[int]] = {}
        for row, c in enumerate(conditions):
            members.setdefault(c, []).append(row)
        if len(members) == 1:
            return self.conditions[conditions[0]]
        device = self.model.device
        return per_row([(self.conditions[c], Group(torch.tensor(some, device=device))) for c, some in members.items()])

    def _at(self, kept: dict[int, Tensor], which: Tensor, width: int | None = None) -> Tensor | None:
        """What some rows begin with; nothing where the first block is run."""
        if not self.start:
            return None
        residual = kept[self.start]
        return residual[which.to(residual.device), :width]

    def _likely(
        self, states: Float[Tensor, "rows d_model"], said: Sequence[tuple[int, int, tuple[int, ...]]]
    ) -> Iterator[Float[Tensor, " vocab"]]:
        """Log-probabilities after each state, on the CPU; `said` has its question, its condition, and the tokens after the prompt."""
        for begin in range(0, len(states), self.rows):
            with torch.no_grad():
                logits = lm_head(self.model, states[begin : begin + self.rows])
            for row in faulty(logits).nonzero()[:1, 0].tolist():
                question, condition, tokens = said[begin + row]
                prompt = self.questions[question].prompt
                edits = self.conditions[condition]
                raise not_finite(self.model, (*prompt, *tokens), edits, row=question, prompt_length=len(prompt))
            for some in logits.split(BLOCK):
                yield from wide(some).log_softmax(-1).cpu()
