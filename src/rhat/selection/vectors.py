"""Candidate vectors of a finder that needs the activations themselves, not only their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture import captured
from rhat.directions.finders import Finder, finder_named
from rhat.model.chat import ChatModel
from rhat.prompts import Prompt
from rhat.selection.means import Means
from rhat.selection.settings import Progress, silent
from rhat.sites import Site

AT_ONCE = 2**29  # bytes of float32 activations that are held; more layers take another pass


def with_finder(
    model: ChatModel,
    means: Means,
    kept: Mapping[str, Sequence[Prompt]],
    finder: str,
    progress: Progress = silent,
) -> Means:
    """The same means with the candidate vectors of `finder`, from the kept training prompts of both sides.

    Each vector is scaled to the distance of the two means along it, so that adding it moves the one to the other, as adding a
    difference of means does. Where the sides do not differ the vector is zero, and the candidate is rejected for that.

    Raises:
        ContrastError: if there is no such finder, or it needs more rows than were kept.
    """
    find = finder_named(finder)
    plans = {label: model.plan([p.text for p in kept[label]]) for label in ("harmful", "harmless")}
    rows = sum(len(plan) for plan in plans.values())
    size = rows * len(means.positions) * model.d_model * 4
    step = max(1, AT_ONCE // size)
    whole, halves = torch.zeros_like(means.harmful), tuple(torch.zeros_like(means.harmful) for _ in range(2))
    for begin in range(0, model.n_layers, step):
        layers = range(begin, min(begin + step, model.n_layers))
        sites = [Site("resid_pre", layer) for layer in layers]
        sides = [torch.empty(len(plan), len(layers), len(means.positions), model.d_model) for plan in plans.values()]
        for side, plan in zip(sides, plans.values(), strict=True):
            for which, at in captured(model, plan, sites, means.positions):
                side[which.cpu()] = torch.stack([at[site].float().cpu() for site in sites], 1)
        for i, layer in enumerate(layers):
            for j in range(len(means.positions)):
                positive, negative = (side[:, i, j] for side in sides)
                whole[layer, j] = _scaled(find, positive, negative)
                for half in (0, 1):
                    halves[half][layer, j] = _scaled(find, positive[half::2], negative[half::2])
            progress(f"candidates, {finder}", layer + 1, model.n_layers)
    return replace(means, found=whole, halves=(halves[0], halves[1]))


def _scaled(
    find: Finder, positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float[Tensor, " d_model"]:
    """The finder's vector, as long as the distance of the means along it, towards `positive`; float64."""
    gap = positive.double().mean(0) - negative.double().mean(0)
    if not bool(gap.any()):
        return gap
    unit = find(positive, negative).double()
    unit = unit / unit.norm()
    along: Tensor = unit * (gap @ unit)
    return along
