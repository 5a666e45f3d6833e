"""Candidate vectors of a finder that needs the activations themselves, not only their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture import captured
from rhat.directions.finders import Finder, check_finder, finder_named, more_of
from rhat.errors import ContrastError
from rhat.model.chat import ChatModel
from rhat.prompts import Prompt
from rhat.selection.means import Means
from rhat.selection.settings import Progress, silent
from rhat.sites import Site

AT_ONCE = 2**29  # bytes of float32 activations that are held; more layers take another pass


@dataclass(frozen=True, eq=False)
class Groups:
    """The prompts that a finder is given.

    positive, negative  the two groups
    harmful             harmful prompts, for a finder whose positive group is another one
    vector              the user's own vector, for the finder `given`
    """

    positive: Sequence[Prompt]
    negative: Sequence[Prompt]
    harmful: Sequence[Prompt] = ()
    vector: Tensor | None = None
    needs: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls, finder: str, kept: Mapping[str, Sequence[Prompt]], harmful: Sequence[Prompt] = (), vector: Any = None
    ) -> Groups:
        """What this finder is given of the kept training prompts.

        Raises:
            ContrastError: if there is no such finder, or it needs what is not there.
        """
        kind = check_finder(finder)
        needs = () if kind is None else kind.needs
        if "vector" in needs and vector is None:
            raise ContrastError(f"finder {finder!r}: got no vector; give one with --vector FILE (FindSettings.vector)")
        return cls(kept["harmful"], kept["harmless"], harmful if "harmful" in needs else (), vector, needs)

    @property
    def sides(self) -> tuple[Sequence[Prompt], ...]:
        """The groups of prompts whose activations are read."""
        return (self.positive, self.negative, *([self.harmful] if "harmful" in self.needs else []))

    def given(self, rows: Sequence[Tensor], part: slice = slice(None)) -> dict[str, Any]:
        """What the finder is given beside the two groups, where `part` of each group is taken."""
        known = {
            "categories": [p.category or "" for p in self.positive[part]],
            "harmful": rows[2][part] if len(rows) > 2 else None,
            "vector": self.vector,
        }
        return {name: known[name] for name in self.needs}


def with_finder(
    model: ChatModel,
    means: Means,
    groups: Groups,
    finder: str,
    progress: Progress = silent,
) -> Means:
    """The same means with the candidate vectors of `finder`, from the kept training prompts of both sides.

    Each vector is scaled to the distance of the two means along it, so that adding it moves the one to the other, as adding a
    difference of means does. Where the sides do not differ the vector is zero, and the candidate is rejected for that. Where the
    positive group is not the harmful one, its means take the place of theirs.

    Raises:
        ContrastError: if there is no such finder, or it needs more rows than were kept.
    """
    kind = check_finder(finder)
    other = kind is not None and kind.positive != "harmful"
    plans = [model.plan([p.text for p in side]) for side in groups.sides]
    rows = sum(len(plan) for plan in plans)
    size = rows * len(means.positions) * model.d_model * 4
    step = max(1, AT_ONCE // size)
    whole, positive = torch.zeros_like(means.harmful), means.harmful.clone()
    halves = tuple(torch.zeros_like(means.harmful) for _ in range(2))
    for begin in range(0, model.n_layers, step):
        layers = range(begin, min(begin + step, model.n_layers))
        sites = [Site("resid_pre", layer) for layer in layers]
        sides = [torch.empty(len(plan), len(layers), len(means.positions), model.d_model) for plan in plans]
        for side, plan in zip(sides, plans, strict=True):
            for which, at in captured(model, plan, sites, means.positions):
                side[which.cpu()] = torch.stack([at[site].float().cpu() for site in sites], 1)
        for i, layer in enumerate(layers):
            for j in range(len(means.positions)):
                here = [side[:, i, j] for side in sides]
                whole[layer, j] = _found(finder, groups, here)
                for h in (0, 1):
                    with suppress(ContrastError):  # half of the rows may be too few: there is no split-half cosine then
                        halves[h][layer, j] = _found(finder, groups, here, slice(h, None, 2))
                if other:
                    positive[layer, j] = here[0].double().mean(0)
            progress(f"candidates, {finder}", layer + 1, model.n_layers)
    return replace(means, found=whole, halves=(halves[0], halves[1]), harmful=positive)


def told_of(model: ChatModel, groups: Groups, finder: str, layer: int, position: int) -> dict[str, Any]:
    """What the finder says beside its vector at one place; nothing is run where it says nothing."""
    kind = check_finder(finder)
    if kind is None or not kind.report:
        return {}
    site, rows = Site("resid_pre", layer), []
    for prompts in groups.sides:
        plan = model.plan([p.text for p in prompts])
        side = torch.empty(len(plan), model.d_model)
        for which, at in captured(model, plan, [site], [position]):
            side[which.cpu()] = at[site][:, 0].float().cpu()
        rows.append(side)
    return more_of(finder, rows[0], rows[1], groups.given(rows))


def _found(finder: str, groups: Groups, rows: Sequence[Tensor], part: slice = slice(None)) -> Float[Tensor, " d_model"]:
    """What the finder makes of a part of each group's rows."""
    return _scaled(finder_named(finder, groups.given(rows, part)), rows[0][part], rows[1][part])


def _scaled(
    find: Finder, positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float[Tensor, " d_model"]:
    """The finder's vector, as long as the distance of the means along it, towards `positive`; float64."""
    gap = positive.double().mean(0) - negative.double().mean(0)
    if not bool(gap.any()):
        return gap
    unit = find(positive, negative).double()
    if not bool(unit.any()):
        return unit
    unit = unit / unit.norm()
    along: Tensor = unit * (gap @ unit)
    return along
