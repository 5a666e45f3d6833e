"""Questions of one length, and what the unedited model computes for them: where runs under edits begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.model.decoder import Decoder
from rhat.model.edits import Edits, Read
from rhat.model.kv import KeyValues
from rhat.model.passes import run_tokens
from rhat.model.plans import Batch
from rhat.model.positions import TokenContext
from rhat.reprs import one_line
from rhat.sites import Site


@dataclass(frozen=True)
class Question:
    """A tokenised prompt, and the tokens of each of its options.

    right  which of them is right, where no more is asked than whether it has the highest score; None: all scores are
    """

    prompt: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    right: int | None = None

    __repr__ = one_line

    @property
    def steps(self) -> int:
        """Tokens of options that are fed: all but the last of each."""
        return sum(len(option) - 1 for option in self.options)


@dataclass(frozen=True, eq=False)
class Ahead:
    """Options of several tokens, each a row with the tokens that are fed: all but its last.

    place  (row of the batch, option) → row here
    """

    ids: Int[Tensor, "options most"]
    lengths: Int[Tensor, " options"]
    prompts: Int[Tensor, " options"]
    place: dict[tuple[int, int], int]

    __repr__ = one_line

    @classmethod
    def of(cls, questions: Sequence[Question], device: torch.device) -> Ahead:
        """The options of the questions of a batch."""
        every = [(row, i, o) for row, q in enumerate(questions) for i, o in enumerate(q.options) if len(o) > 1]
        ids = torch.zeros(len(every), max((len(o) - 1 for _, _, o in every), default=0), dtype=torch.long)
        for at, (_, _, option) in enumerate(every):
            ids[at, : len(option) - 1] = torch.tensor(option[:-1])
        return cls(
            ids.to(device),
            torch.tensor([len(o) - 1 for _, _, o in every], dtype=torch.long),
            torch.tensor([row for row, _, _ in every], dtype=torch.long),
            {(row, i): at for at, (row, i, _) in enumerate(every)},
        )

    def context(self, which: Int[Tensor, " rows"], width: int, batch: TokenContext, length: int) -> TokenContext:
        """Where the first `width` tokens of some rows stand: after prompts of this length; `batch` is the context of these."""
        device = self.ids.device
        of = batch.select(self.prompts[which].to(device))
        own = self.lengths[which].to(device)
        column = torch.arange(width, device=device)
        real = column[None] < own[:, None]
        return replace(
            of,
            positions=(length + column).expand(len(which), -1).contiguous(),
            real=real,
            padded=not bool(real.all()),
            aligned=True,
            n_real=int(own.clamp_max(width).sum()),
        )


@dataclass(frozen=True, eq=False)
class OneLength:
    """Questions whose prompts are equally long, without the tokens that all prompts share, and the unedited run of them.

    which      their numbers among all questions
    prompts, options  resid_pre of some layers: of the prompts' tokens, and of those of options that are fed
    """

    which: tuple[int, ...]
    length: int
    batch: Batch
    ahead: Ahead
    prompts: dict[int, Float[Tensor, "rows seq d_model"]] = field(default_factory=dict)
    options: dict[int, Float[Tensor, "options most d_model"]] = field(default_factory=dict)

    __repr__ = one_line


def keeper(starts: Sequence[int], into: dict[int, Tensor]) -> Edits:
    """Readers that keep resid_pre of these layers."""

    def keep(layer: int) -> Read:
        return Read(lambda x, _context: into.__setitem__(layer, x.clone()))

    return {Site("resid_pre", layer): keep(layer) for layer in starts}


def run_unedited(
    model: Decoder, some: OneLength, starts: Sequence[int], prefix_kv: KeyValues | None, shared: int, rows: int
) -> None:
    """Run the unedited model over questions up to the highest of some layers, and keep resid_pre of all of them.

    At most `rows` options are run in one pass.
    """
    if not starts:
        return
    done = run_tokens(
        model,
        some.batch.ids,
        some.batch.context,
        keeper(starts, some.prompts),
        prefix_kv=prefix_kv,
        prefix_length=shared,
        stop=max(starts),
    )
    kv = after(prefix_kv, done.new_kv)
    parts: list[dict[int, Tensor]] = []
    for which in torch.arange(len(some.ahead.ids)).split(rows):
        if not len(which):
            continue
        kept: dict[int, Tensor] = {}
        width = some.ahead.ids.shape[1]
        run_tokens(
            model,
            some.ahead.ids[which],
            some.ahead.context(which, width, some.batch.context, some.length),
            keeper(starts, kept),
            prefix_kv=rows_of(kv, some.ahead.prompts[which]),
            prefix_length=some.length,
            stop=max(starts),
        )
        parts.append(kept)
    some.options.update({start: torch.cat([part[start] for part in parts]) for start in starts if parts})


def after(prefix: KeyValues | None, new: KeyValues) -> KeyValues:
    """Keys and values of whole prompts: those of a prefix, of one row or of as many, and those of the rest."""
    if prefix is None:
        return new

    def joined(before: Tensor, rest: Tensor) -> Tensor:
        return torch.cat([before.expand(len(rest), -1, -1, -1), rest], -2)

    return [
        None if kv is None or under is None else (joined(under[0], kv[0]), joined(under[1], kv[1]))
        for under, kv in zip(prefix, new, strict=True)
    ]


def rows_of(kv: KeyValues, which: Int[Tensor, " rows"]) -> KeyValues:
    """Keys and values of some rows; one row stands for all."""
    return [
        pair
        if pair is None or len(pair[0]) == 1
        else (pair[0][which.to(pair[0].device)], pair[1][which.to(pair[1].device)])
        for pair in kv
    ]
