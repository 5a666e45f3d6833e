"""Resampling: r̂ found again on samples of the topics that it was found on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.lab import Lab
from rhat.lab.measurement import topics_of
from rhat.selection.reselection import RULES, Reselection, ablating
from rhat.selection.scored import Place
from rhat.selection.search import Scorer
from rhat.selection.survey import SIDES
from rhat.statistics.pipeline import resampled_topics


@dataclass(frozen=True, eq=False)
class Resampled:
    """One r̂ from a sample of training topics, where a sample of validation topics puts it.

    seed    which sample, from 0
    norm    length of the difference of means, residual units; `target`: the harmful mean on the unit vector
    """

    seed: int
    layer: int
    position: int
    unit: Float[Tensor, " d_model"]
    norm: float
    target: float


def resampled(lab: Lab, draws: int) -> list[Resampled]:
    """An r̂ for each sample on which a candidate passes the rules; the place stays where the search kept no scores, or another rule
    than the published ones chose it."""
    rng = np.random.default_rng(lab.seed)
    kept = lab.finding.kept
    sides: tuple[str, ...] = SIDES
    samples = [
        {
            split: {label: resampled_topics(topics_of(kept[split][label]), rng) for label in sides}
            for split in ("train", "validation")
        }
        for _ in range(draws)
    ]
    places: list[Place | None] = [(lab.direction.layer, lab.direction.position)] * draws
    if lab.finding.scored is not None and lab.finding.rule in RULES:
        scorer = Scorer(lab.model, lab.executor, lab.tokens, lab.progress)
        measure = ablating(scorer, lab.means, kept["validation"])
        choosing = Reselection(lab.finding.scored, lab.finding.rule, measure)
        places = choosing.choices([sample["validation"] for sample in samples])
    held = _held(lab, [place for place in places if place is not None])
    return [_again(i, place, held, samples[i]["train"]) for i, place in enumerate(places) if place is not None]


def _held(lab: Lab, places: list[Place]) -> dict[Place, dict[str, Float[Tensor, "_ d_model"]]]:
    """Activations of all kept training prompts at the places that were chosen: one pass for each position among them."""
    held: dict[Place, dict[str, Tensor]] = {place: {} for place in places}
    for position in sorted({position for _, position in places}):
        layers = sorted({layer for layer, at in held if at == position})
        for label in SIDES:
            found = lab.activations(lab.finding.kept["train"][label], layers, position)
            for i, layer in enumerate(layers):
                held[layer, position][label] = found[:, i]
    return held


def _again(
    seed: int, place: Place, held: dict[Place, dict[str, Tensor]], sample: dict[str, Int[np.ndarray, " _"]]
) -> Resampled:
    harmful, harmless = (held[place][label].double()[torch.from_numpy(sample[label])].mean(0) for label in SIDES)
    raw = harmful - harmless
    unit = raw / raw.norm()
    return Resampled(seed, *place, unit.float(), float(raw.norm()), float(harmful @ unit))
