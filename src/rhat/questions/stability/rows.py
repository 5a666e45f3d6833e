"""Rows of results.json on refits of r̂."""

from __future__ import annotations

from rhat.artifacts.record import (
    Cosine,
    Count,
    Difference,
    FromEnd,
    Index,
    Judgement,
    Length,
    Natural,
    Outcome,
    Record,
    Units,
)
from rhat.artifacts.rows import Effect, Part


class Refit(Record):
    """Rows of `stability.refits`."""

    round: Natural
    """0 is r̂ itself"""
    cosine_to_first: Cosine
    """cosine with r̂"""
    norm: Length | None = None
    """length of the raw difference"""
    induce: Effect | None = None
    """setting it, on harmless prompts"""
    prevent: Effect | None = None
    """ablating it (and those before), on harmful prompts"""
    verdict: Judgement | None = None
    """of setting it against the baseline: better = it refuses more; absent where there is no baseline"""


class Stability(Record):
    """Is it one direction?"""

    split_half: tuple[Cosine, ...] = ()
    """cosine between the two halves' directions, one per random split"""
    seeds: tuple[Cosine, ...] = ()
    """cosine with r̂ of directions refitted on other draws of the training prompts"""
    refits: tuple[Refit, ...] = ()
    """directions found after ablating the ones before"""


class Resample(Record):
    """r̂ found again on a sample, by topic, of the training and of the validation prompts."""

    seed: Natural
    """which sample, from 0; those on which no candidate passes the rules are left out"""
    layer: Index
    """where the rules put it on this sample"""
    position: FromEnd
    """its position"""
    cosine: Cosine
    """cosine with r̂, whatever the layer"""
    norm: Length
    """length of its difference of means"""
    target: Units
    """its harmful mean, to which it is set"""
    effect: Effect
    """setting it, on harmless test prompts"""


class Pipeline(Record):
    """What r̂'s effect owes to the prompts that it was found on: setting it on harmless test prompts, against no edit."""

    samples: Natural
    """samples of the training and validation topics"""
    found: Natural
    """samples on which a candidate passes the rules"""
    same_place: Natural
    """of these, those with r̂'s layer and position"""
    reselected: bool
    """whether layer and position were chosen again; they were not where the search kept no scores"""
    n: Count
    """test prompts"""
    difference: Difference
    """difference in rates, with r̂ set − without"""
    ci_low: Difference
    """95 % interval of `difference` over test prompts alone (Tango), lower end"""
    ci_high: Difference
    """upper end"""
    pipeline_ci_low: Difference | None = None
    """the same over the samples too, lower end; absent where fewer than two samples gave a direction"""
    pipeline_ci_high: Difference | None = None
    """upper end"""
    mean_difference: Difference | None = None
    """mean of the differences that the samples' directions make"""
    verdict: Judgement | None = None
    """of the interval over the samples too: better = it refuses more"""


class Split(Record):
    """r̂ found anew on a split of the same prompts, by topic, and the headline conditions on its test prompts."""

    split: Natural
    """0 is the study's own"""
    seed: Natural
    """the seed by which it was drawn"""
    outcome: Outcome
    """what the search found on it; without a direction nothing is measured"""
    layer: Index | None = None
    """where r̂ is"""
    position: FromEnd | None = None
    """its position"""
    cosine: Cosine | None = None
    """cosine of its r̂ with the study's own, whatever the layer"""
    baseline: Effect | None = None
    """harmless test prompts, no edit"""
    set_projection: Effect | None = None
    """harmless test prompts, its r̂ set to the harmful mean"""
    baseline_harmful: Effect | None = None
    """harmful test prompts, no edit"""
    ablate: Effect | None = None
    """harmful test prompts, its r̂ ablated"""


class Rows(Part):
    """Refits of r̂."""

    stability: Stability | None = None
    """Is it one direction?"""
    resamples: tuple[Resample, ...] = ()
    """r̂ found again on a sample, by topic, of the training and of the validation prompts."""
    pipeline: Pipeline | None = None
    """What r̂'s effect owes to the prompts that it was found on."""
    splits: tuple[Split, ...] = ()
    """r̂ found anew on a split of the same prompts, by topic, and the headline conditions on its test prompts."""
