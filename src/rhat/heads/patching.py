"""Replacing the outputs of chosen heads at one token position by given values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.heads.attribution import Attribution, Head
from rhat.model.edits import Edit
from rhat.model.positions import Scope, TokenContext
from rhat.sites import Site


@dataclass(frozen=True, eq=False)
class PatchHeads:
    """An edit at head_out: at the tokens of its scope some heads' values are replaced. New tensor; others untouched."""

    heads: Int[Tensor, " k"]
    values: Float[Tensor, "k head_dim"]
    n_heads: int
    scope: Scope = Scope("last_prompt_token")  # noqa: RUF009

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor | None:
        """The activation with those heads' values replaced; None where the scope holds no token of it."""
        inside = self.scope.mask(context)
        if not bool(inside.any()):
            return None
        split: Tensor = activation.unflatten(-1, (self.n_heads, -1)).clone()
        rows, columns = inside.nonzero(as_tuple=True)
        values = self.values.to(activation)
        split[rows[:, None], columns[:, None], self.heads.to(activation.device)[None]] = values.expand(
            len(rows), -1, -1
        )
        return split.flatten(-2)

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The scope's first position."""
        return self.scope.first_position(prompt_length, template_start)


def patch_heads(
    attribution: Attribution, heads: Iterable[Head], n_heads: int, scope: Scope | str = "last_prompt_token"
) -> dict[Site, Edit]:
    """Edits that replace these heads' outputs by their means over harmful prompts, at the last prompt token."""
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    return {
        Site("head_out", layer): PatchHeads(
            torch.tensor(some), attribution.harmful[layer, some], n_heads, Scope.parse(scope)
        )
        for layer, some in sorted(by_layer.items())
    }
