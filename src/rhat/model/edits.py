"""Edits: what is done to an activation at a site, as values that know the first layer and position they can change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from rhat.model.positions import BEYOND, TokenContext
from rhat.reprs import one_line
from rhat.sites import Site


@runtime_checkable
class Edit(Protocol):
    """What is done at a site: gets the activation and its token context, returns a new tensor, or None to read only."""

    def __call__(
        self, activation: Float[Tensor, "batch seq width"], context: TokenContext
    ) -> Float[Tensor, "batch seq width"] | None:
        """The new activation, or None to leave it as it is."""
        ...

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The first absolute position that this edit can change in a row of that shape (BEYOND: it only reads)."""
        ...


AFTER_MLP = ("mlp_out", "other_out", "resid_post")  # sites of a block that see what its MLP gave


def only_ends(edits: Edits, last: int) -> bool:
    """Whether the last block, number `last`, may leave out its MLP where no hidden state is wanted: nothing that these edits
    do there, beyond the MLP, reads or mixes tokens."""
    return all(
        getattr(edit, "tokenwise", False)
        for site, edit in edits.items()
        if site.layer == last and site.kind in AFTER_MLP
    )


@dataclass(frozen=True)
class Read:
    """An edit that only reads: calls `function(activation, context)` and changes nothing."""

    function: Callable[[Tensor, TokenContext], None]

    __repr__ = one_line

    def __call__(self, activation: Tensor, context: TokenContext) -> None:
        """Pass the activation on to the reader."""
        self.function(activation, context)

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """Never: reading changes nothing."""
        return BEYOND


@dataclass(frozen=True)
class Chain:
    """Several edits of one site, one after the other; each sees what the one before it returned."""

    edits: tuple[Edit, ...]

    __repr__ = one_line

    @property
    def whole(self) -> bool:
        """Whether one of them must see each prompt in one pass."""
        return any(getattr(edit, "whole", False) for edit in self.edits)

    @property
    def tokenwise(self) -> bool:
        """Whether each of them changes each token by itself, and reads nothing."""
        return all(getattr(edit, "tokenwise", False) for edit in self.edits)

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor | None:
        """Apply every edit in turn; None if none changed anything."""
        changed = None
        for edit in self.edits:
            result = edit(activation if changed is None else changed, context)
            changed = result if result is not None else changed
        return changed

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The earliest of all."""
        return min((e.first_position(prompt_length, template_start) for e in self.edits), default=BEYOND)


Edits = Mapping[Site, Edit]
"""What `tap` applies: the edit of each site."""


def merge(*many: Edits) -> dict[Site, Edit]:
    """One mapping from several; edits of the same site are chained in the order given."""
    merged: dict[Site, list[Edit]] = {}
    for edits in many:
        for site, edit in edits.items():
            merged.setdefault(site, []).append(edit)
    return {site: chain[0] if len(chain) == 1 else Chain(tuple(chain)) for site, chain in merged.items()}


def first_layer(edits: Edits) -> int:
    """The first block whose input or inside the edits or reads touch: blocks before it run as they would without."""
    return min((site.layer for site in edits), default=BEYOND)
