"""Cones: orthonormal vectors, every non-negative combination of which brings refusals about and takes them away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rhat.artifacts.measured import rate_part
from rhat.directions import Direction
from rhat.errors import ContrastError
from rhat.gradient.direction import measured, prepared
from rhat.gradient.loss import Objective, Terms
from rhat.gradient.search import first_basis, search, unit_of, weights
from rhat.gradient.settings import MOST, GradientSettings
from rhat.gradient.targets import Targets
from rhat.interventions import Intervention
from rhat.model.chat import ChatModel
from rhat.model.template import ChatPrompt
from rhat.reprs import one_line
from rhat.scoring.phrases import BUILT_IN, Phrases
from rhat.scoring.refusals import refusals
from rhat.selection.settings import Progress, silent
from rhat.vocabulary import JUDGED_TOKENS

TRIED = 8  # vectors of the cone on which its loss is told


@dataclass(frozen=True, eq=False)
class Effect:
    """What one basis vector does by itself, on the prompts that were given.

    terms           its loss
    refused         share of harmful prompts that are still refused when it is ablated, with the Wilson interval
    refused_low
    refused_high
    induced         share of harmless prompts that are refused when it is added at the start's distance of means
    induced_low
    induced_high
    """

    terms: Terms
    refused: float
    refused_low: float
    refused_high: float
    induced: float
    induced_low: float
    induced_high: float

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class Cone:
    """A cone, and what its vectors do.

    basis    orthonormal directions
    effects  what each does by itself
    none     the loss of no vector
    inside   losses of vectors drawn evenly from the cone (seeded), on all prompts
    curve    the terms of each step's batch
    opened   answers that are continuations of an opening
    """

    basis: tuple[Direction, ...]
    effects: tuple[Effect, ...]
    none: Terms
    inside: tuple[Terms, ...]
    curve: tuple[Terms, ...]
    opened: int

    __repr__ = one_line


def gradient_cone(
    model: ChatModel,
    harmful: Sequence[ChatPrompt],
    harmless: Sequence[ChatPrompt],
    start: Direction,
    dimension: int,
    settings: GradientSettings | None = None,
    *,
    targets: Targets | None = None,
    phrases: Phrases = BUILT_IN,
    progress: Progress = silent,
) -> Cone:
    """A cone of up to 5 dimensions in which every vector has a low loss. Wollschläger et al. 2025, arXiv 2502.17420.

    The loss of a basis v₁ … v_k is the mean of L(vᵢ) plus the mean of L(Σ sᵢ vᵢ) over `samples` draws of s in each step, uniform
    on the part of the sphere where all sᵢ ≥ 0; the basis is made orthonormal by Gram–Schmidt after each step. The first vector
    starts at `start`, the others at random. That a basis is given back does not say that the model has so many dimensions:
    look at each vector's own effect, and at the largest loss inside.

    Raises:
        ContrastError: if the dimension is not 1 to 5, or as `gradient_direction`.
    """
    if not 1 <= dimension <= MOST:
        raise ContrastError(f"gradient_cone: got {dimension} dimensions, expected 1 to {MOST}")
    settings = settings or GradientSettings()
    objective = prepared(model, harmful, harmless, start, settings, (), targets)
    basis = first_basis(model, start, objective.beside, dimension, settings.start == "random", settings.seed)
    end, curve = search(objective, basis, progress)
    drawn = weights(dimension, TRIED, torch.Generator().manual_seed(settings.seed + 1)).to(end)
    return Cone(
        tuple(measured(model, harmful, harmless, start, end, "gradient_cone", {"cone": dimension})),
        tuple(effect_of(objective, unit, phrases) for unit in end),
        objective.whole(None),
        tuple(objective.whole(unit_of(share, end)) for share in drawn),
        curve,
        objective.targets.opened,
    )


def effect_of(objective: Objective, unit: Float[Tensor, " d_model"], phrases: Phrases = BUILT_IN) -> Effect:
    """The loss of a unit vector on all prompts, and the refusals of their answers, judged by phrases."""
    t, layer = objective.targets, objective.start.layer
    unit = unit.detach().float()
    doings = (
        ([prompt for prompt, _ in t.answers], Intervention("ablate", unit, layer, 0.0, "all layers")),
        ([prompt for prompt, _ in t.refusals], Intervention("add", unit, layer, objective.start.norm)),
    )
    shares = []
    for prompts, doing in doings:
        found = refusals(
            objective.model, prompts, doing.edits(objective.model), max_new_tokens=JUDGED_TOKENS, phrases=phrases
        )
        part = rate_part(np.asarray(found.refused))
        shares += [part["rate"], part["ci_low"], part["ci_high"]]
    return Effect(objective.whole(unit.to(objective.beside)), *shares)
