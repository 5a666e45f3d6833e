"""Adopting: what a vector from elsewhere lacks, measured on the model with training prompts of both kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from rhat.directions import Direction
from rhat.model.chat import ChatModel
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.selection.finding import Finding
from rhat.selection.given_direction import finding_for
from rhat.selection.means import Means
from rhat.selection.settings import FindSettings, Progress, silent


def adopt(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: FindSettings | None = None,
    *,
    choose_position: bool = False,
    progress: Progress = silent,
    pieces: Pieces | None = None,
) -> tuple[Direction, Finding]:
    """The direction with both mean projections measured, and the finding around it (refusal tokens, filter, means).

    Training and validation prompts only. The vector, its sign and its site are kept. With `choose_position` the position
    becomes the template token at which the difference of means points most along the vector (largest cosine). `norm` becomes
    the distance of the two means along the vector; the length that the vector had is kept in `extra`. Where the model hardly
    refuses, nothing can be measured: the direction comes back as it was, and the finding says why.

    Raises:
        DirectionError: if the direction does not fit the model, or its position is not a template token.
        StudyError: if the contrast set has fewer than two prompts of a label in a split that is needed.
    """
    finding = finding_for(model, prompts, direction, settings, progress=progress, pieces=pieces)
    if finding.means is None:
        return direction, finding
    means = finding.means
    position = _best_position(direction, means) if choose_position else direction.position
    at = means.positions.index(position)
    harmful, harmless = (
        float(m[direction.layer, at].cpu() @ direction.unit.double()) for m in (means.harmful, means.harmless)
    )
    extra = {**direction.extra, "given_norm": direction.norm, "measured": _measured(choose_position)}
    adopted = Direction(
        unit=direction.unit,
        site=direction.site,
        position=position,
        norm=abs(harmful - harmless) or direction.norm,
        mean_harmful=harmful,
        mean_harmless=harmless,
        method=direction.method,
        model=model.with_response_prefix(finding.response_prefix).describe(),
        prompts=prompts.fingerprint,
        extra=extra,
    )
    where = {"position": position, "layer": direction.layer, "status": "selected"}
    sentence = f"r̂ of {model.name} was given: layer {direction.layer}, position {position}"
    return adopted, replace(finding, direction=adopted, sentence=sentence, candidates=(where,))


def _measured(position: bool) -> Sequence[str]:
    return ["mean_harmful", "mean_harmless", *(["position"] if position else [])]


def _best_position(direction: Direction, means: Means) -> int:
    """The template position at which the difference of means has the largest cosine with the direction."""
    gaps = (means.harmful - means.harmless)[direction.layer].cpu()
    cosines = torch.nn.functional.cosine_similarity(gaps, direction.unit.double()[None], dim=-1)
    return means.positions[int(cosines.nan_to_num(nan=-2.0).argmax())]
