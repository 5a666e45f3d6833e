"""The gradient direction: one unit vector, with its loss before, along and after the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture import activations
from rhat.directions import Direction
from rhat.errors import ContrastError
from rhat.gradient.loss import Objective, Terms
from rhat.gradient.search import beside_basis, first_basis, search
from rhat.gradient.settings import GradientSettings
from rhat.gradient.targets import Targets, targets_of
from rhat.model.chat import ChatModel
from rhat.model.template import ChatPrompt
from rhat.reprs import one_line
from rhat.selection.settings import Progress, silent


@dataclass(frozen=True, eq=False)
class GradientDirection:
    """What was found, and how the loss went.

    direction  the unit vector with its means at the start's site and position; turned so that adding it brings refusals about
    none       the loss of no vector (with `beside` ablated), on all prompts
    before     that of the start
    after      that of the direction
    curve      the terms of each step's batch, before the step
    opened     answers that are continuations of an opening, because ablation of the start brought none about
    """

    direction: Direction
    none: Terms
    before: Terms
    after: Terms
    curve: tuple[Terms, ...]
    opened: int

    __repr__ = one_line


def gradient_direction(
    model: ChatModel,
    harmful: Sequence[ChatPrompt],
    harmless: Sequence[ChatPrompt],
    start: Direction,
    settings: GradientSettings | None = None,
    *,
    beside: Sequence[Direction] = (),
    targets: Targets | None = None,
    progress: Progress = silent,
) -> GradientDirection:
    """The unit vector that minimises the loss of `Objective` on the sphere. Wollschläger et al. 2025, arXiv 2502.17420.

    Gradients go by autograd through the model, weights frozen, and the vector is float32 (float64 in a float64 model). The start
    gives the site, the length of addition, and the answers that are wanted (`targets_of`); the search begins there or at random.
    The loss falls to a minimum near the start, not to a known lowest one.

    Args:
        model: the model; its weights are not changed.
        harmful: prompts that it refuses, of the training split.
        harmless: prompts that it answers.
        start: a refusal direction of this model, such as the difference of means.
        settings: how the sphere is searched.
        beside: directions that are ablated as well, and to which the vector is orthogonal: the next direction after these.
        targets: what the model should say; None: `targets_of`.
        progress: told of each step.

    Raises:
        ContrastError: if there are no prompts of a kind, or the start does not lean towards refusal.
        DirectionError: if a direction is of another model.
    """
    settings = settings or GradientSettings()
    objective = prepared(model, harmful, harmless, start, settings, beside, targets)
    basis = first_basis(model, start, objective.beside, 1, settings.start == "random", settings.seed)
    before = objective.whole(basis[0])
    end, curve = search(objective, basis, progress)
    after = objective.whole(end[0])
    about = {"gradient": {"before": asdict(before), "after": asdict(after), "steps": len(curve), "beside": len(beside)}}
    found = measured(model, harmful, harmless, start, end, "gradient", about)[0]
    return GradientDirection(found, objective.whole(None), before, after, curve, objective.targets.opened)


def prepared(
    model: ChatModel,
    harmful: Sequence[ChatPrompt],
    harmless: Sequence[ChatPrompt],
    start: Direction,
    settings: GradientSettings,
    beside: Sequence[Direction],
    targets: Targets | None,
) -> Objective:
    """The objective on these prompts.

    Raises:
        ContrastError: if the start has no length.
        DirectionError: if a direction is of another model.
    """
    for direction in (start, *beside):
        direction.check_fits(model)
    if not start.norm > 0:
        raise ContrastError(
            "gradient: got a start whose two means are the same, so nothing says how much to add; give another one"
        )
    targets = targets or targets_of(model, harmful, harmless, start, settings, beside)
    return Objective(model, targets, start, settings, beside_basis(model, beside))


def measured(
    model: ChatModel,
    harmful: Sequence[ChatPrompt],
    harmless: Sequence[ChatPrompt],
    start: Direction,
    basis: Float[Tensor, "k d_model"],
    method: str,
    extra: Mapping[str, Any],
) -> list[Direction]:
    """Unit vectors as directions at the start's site and position, with the mean projections of these prompts."""
    rows = {
        name: activations(model, list(some), start.site, start.position)[:, 0].double()
        for name, some in (("harmful", harmful), ("harmless", harmless))
    }
    found = []
    for unit in basis.detach().cpu().double():
        high, low = (float(rows[name].mean(0) @ unit) for name in ("harmful", "harmless"))
        found.append(
            Direction(
                (unit / unit.norm()).to(torch.float32),
                start.site,
                start.position,
                abs(high - low),
                high,
                low,
                method,
                model.describe(),
                start.prompts,
                extra,
            )
        )
    return found
