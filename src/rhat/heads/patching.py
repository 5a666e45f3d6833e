"""Replacing the outputs of chosen heads at one token position by given values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.heads.attribution import Attribution, Head
from rhat.interventions.intervention import Applied
from rhat.model.chat import ChatModel
from rhat.model.edits import Edit
from rhat.model.positions import Scope, TokenContext
from rhat.reprs import one_line
from rhat.sites import Site


@dataclass(frozen=True, eq=False)
class HeadEdit:
    """An edit at head_out: at the tokens of its scope some heads' values are replaced. New tensor; others untouched."""

    heads: Int[Tensor, " k"]
    values: Float[Tensor, "k head_dim"]
    n_heads: int
    scope: Scope = Scope("last_prompt_token")  # noqa: RUF009

    __repr__ = one_line

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor | None:
        """The activation with those heads' values replaced; tokens outside the scope stay as they are."""
        split: Tensor = activation.unflatten(-1, (self.n_heads, -1))
        heads, values = self.heads.to(activation.device), self.values.to(activation)
        replaced = split.index_copy(-2, heads, values.expand(*split.shape[:-2], -1, -1))
        return torch.where(context.inside(self.scope)[..., None, None], replaced, split).flatten(-2)

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The scope's first position."""
        return self.scope.first_position(prompt_length, template_start)


@dataclass(frozen=True, eq=False, repr=False)
class PatchHeads(Applied):
    """An intervention that replaces the outputs of some heads by given values, at the tokens of a scope.

    values  for each head (layer, number) what its output becomes, [head_dim], before the output projection
    """

    values: Mapping[Head, Float[Tensor, " head_dim"]]
    scope: Scope = Scope("last_prompt_token")  # noqa: RUF009

    def edits(self, model: ChatModel) -> dict[Site, Edit]:
        """One edit for each layer that has some of the heads.

        Raises:
            SiteError: if a layer is not in this model.
        """
        by_layer: dict[int, list[int]] = {}
        for layer, head in self.values:
            by_layer.setdefault(layer, []).append(head)
        return {
            Site("head_out", layer).within(model.n_layers): HeadEdit(
                torch.tensor(some),
                torch.stack([self.values[layer, head] for head in some]),
                model.layout.n_heads,
                self.scope,
            )
            for layer, some in sorted(by_layer.items())
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{layer}.{head}" for layer, head in sorted(self.values)[:6])
        more = f" and {len(self.values) - 6} more" if len(self.values) > 6 else ""
        return f"PatchHeads({len(self.values)} heads: {shown}{more}, scope {self.scope})"


def patch_heads(
    attribution: Attribution, heads: Iterable[Head], scope: Scope | str = "last_prompt_token"
) -> PatchHeads:
    """An intervention that replaces these heads' outputs by their means over harmful prompts, at the last prompt token."""
    return PatchHeads({(layer, head): attribution.harmful[layer, head] for layer, head in heads}, Scope.parse(scope))
