"""Rows of one batch that are edited differently: one edit for all of them, which hands each its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Int
from torch import Tensor

from rhat.model.edits import Edit, Edits
from rhat.model.positions import BEYOND, TokenContext
from rhat.sites import Site


@dataclass(frozen=True)
class Share:
    """The rows of the `index`-th of `of` equal parts of a batch, whatever its size."""

    index: int
    of: int


@dataclass(eq=False)
class Group:
    """Some rows of a batch, all of them (None), or a share. Its part of a token context is made once a pass, not once a site."""

    members: Share | Int[Tensor, " rows"] | None
    _whole: TokenContext | None = field(default=None, repr=False)
    _part: TokenContext | None = field(default=None, repr=False)

    def context(self, whole: TokenContext) -> TokenContext:
        """The token context of these rows alone."""
        if self._part is None or self._whole is not whole:
            self._whole, self._part = whole, whole.select(self.rows(whole.positions))
        return self._part

    def rows(self, batch: Tensor) -> slice | Int[Tensor, " rows"]:
        """Which rows of a batch these are, as an index where the batch is."""
        if isinstance(self.members, Share):
            each = len(batch) // self.members.of
            return slice(self.members.index * each, (self.members.index + 1) * each)
        return slice(None) if self.members is None else self.members.to(batch.device)


@dataclass(frozen=True, eq=False)
class PerRow:
    """One edit for a batch whose groups of rows are edited differently; rows in no group stay as they were."""

    edits: tuple[tuple[Edit, Group], ...]

    @property
    def tokenwise(self) -> bool:
        """Whether each of them changes each token by itself, and reads nothing."""
        return all(getattr(edit, "tokenwise", False) for edit, _ in self.edits)

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor | None:
        """Each group edited by its own edit; None if nothing changed."""
        changed = None
        for edit, group in self.edits:
            if group.members is None:  # whatever else there is has no rows
                return edit(activation, context)
            rows = group.rows(activation)
            result = edit(activation[rows], group.context(context))
            if result is not None:
                changed = activation.clone() if changed is None else changed
                changed[rows] = result
        return changed

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The earliest of all."""
        return min((e.first_position(prompt_length, template_start) for e, _ in self.edits), default=BEYOND)


def per_row(groups: Sequence[tuple[Edits, Group]]) -> dict[Site, Edit]:
    """What `tap` applies to a batch of which each group has edits of its own."""
    at: dict[Site, list[tuple[Edit, Group]]] = {}
    for edits, group in groups:
        for site, edit in edits.items():
            at.setdefault(site, []).append((edit, group))
    return {site: PerRow(tuple(pairs)) for site, pairs in at.items()}


def in_shares(many: Sequence[Edits]) -> dict[Site, Edit]:
    """The same for a batch that holds the same rows once for each of these edits, one copy after the other."""
    return per_row([(edits, Group(Share(i, len(many)))) for i, edits in enumerate(many)])
