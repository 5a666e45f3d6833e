"""Rows of results.json on ablating against subtracting."""

from __future__ import annotations

from typing import Annotated, Literal

from rhat.artifacts.record import (
    Cosine,
    Count,
    DifferenceUnit,
    Divergence,
    InUnit,
    Judgement,
    Measured,
    Positive,
    Record,
    Share,
    Units,
    unit,
)
from rhat.artifacts.rows import Part


class Damage(Measured):
    """Ablating and subtracting: refusal on harmful prompts beside the damage on harmless ones."""

    condition: str
    """id of the condition, a key of `conditions`"""
    op: Literal["ablate", "subtract", "none"]
    """operator"""
    sites: Literal["own layer", "all layers"]
    """where"""
    coefficient: Units | None = None
    """of subtract; absent for ablate"""
    kl_mean: Divergence
    """mean KL(base ‖ edited) on harmless prompts"""
    cross_entropy: Annotated[Positive, unit("nats/token")] | None = None
    """of the model's own greedy baseline completions"""
    degenerate_share: Share | None = None
    """share of degenerate completions"""


class Matched(Record):
    """Rows of `ablate_vs_subtract.matched`."""

    treatment: str
    """condition id"""
    reference: str
    """condition id"""
    sites: Literal["own layer", "all layers", "mixed"]
    """where both edit"""
    kl_treatment: Divergence
    """damage of the treatment"""
    kl_reference: Divergence
    """of the reference"""
    difference: InUnit
    """treatment − reference on harmful prompts"""
    ci_low: InUnit
    """95 % interval of `difference` (paired), lower end"""
    ci_high: InUnit
    """upper end"""
    unit: DifferenceUnit
    """what the difference is in: refusal rate (`share`) or refusal score (`log-odds`, nats)"""
    n: Count
    """pairs"""
    verdict: Judgement
    """of the difference: better = the treatment refuses more"""


class RankCorrelation(Record):
    """`ablate_vs_subtract.spearman_projection_gap`."""

    rho: Cosine
    """Spearman's ρ"""
    ci_low: Cosine
    """95 % interval of ρ, lower end"""
    ci_high: Cosine
    """upper end"""
    verdict: Judgement
    """better = ρ above 0"""
    n: Count
    """prompts (or pairs of answers) measured"""


class AblateVsSubtract(Record):
    """The comparison at matched damage, and the explanation by the projection, tested prompt by prompt."""

    matched: tuple[Matched, ...] = ()
    """pairs of conditions of about equal KL"""
    spearman_projection_gap: RankCorrelation | None = None
    """rank correlation, over harmful prompts, of the projection with the size of the gap |subtract − ablate| in refusal score; negative where the gap is larger at small projections"""


class Rows(Part):
    """Ablating against subtracting."""

    damage: tuple[Damage, ...] = ()
    """Ablating and subtracting: refusal on harmful prompts beside the damage on harmless ones."""
    ablate_vs_subtract: AblateVsSubtract | None = None
    """The comparison at matched damage, and the explanation by the projection."""
