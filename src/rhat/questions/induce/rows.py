"""Rows of results.json on adding against setting."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rhat.artifacts.record import (
    Cosine,
    Count,
    DifferenceUnit,
    Divergence,
    Fraction,
    Index,
    InUnit,
    Judgement,
    Label,
    Length,
    Nats,
    Natural,
    Record,
    Share,
    Units,
    unit,
)
from rhat.artifacts.rows import Part


class NearZero(Record):
    """How many harmless prompts and edited tokens project to near zero at r̂'s layer."""

    threshold_share: Annotated[Fraction, unit("share of gap")]
    """near means |projection| below this share of the gap between the two means"""
    threshold: Length | None = None
    """the same as a projection"""
    prompts_share: Share
    """share of harmless prompts (at r̂'s position) that are near zero"""
    tokens_share: Share | None = None
    """share of all edited tokens"""
    n_prompts: Count
    """prompts counted"""
    n_tokens: Annotated[Count, unit("tokens")] | None = None
    """tokens counted"""


class LayerRow(Record):
    """Setting against adding at every layer, each with its own r̂ and t."""

    layer: Index
    """layer of resid_pre"""
    harmless_mean_projection: Units
    """mean projection of harmless prompts"""
    harmful_mean_projection: Units
    """mean projection of harmful prompts"""
    set_score: Nats | None = None
    """mean refusal score under setting"""
    add_score: Nats | None = None
    """mean refusal score under adding"""
    gap: InUnit
    """setting − adding"""
    ci_low: InUnit
    """95 % interval of `gap` (paired), lower end"""
    ci_high: InUnit
    """upper end"""
    unit: DifferenceUnit
    """what the difference is in: refusal rate (`share`) or refusal score (`log-odds`, nats)"""
    n: Count
    """pairs"""
    verdict: Judgement
    """of the gap: better = setting refuses more"""
    near_zero: bool
    """the harmless mean lies within `near_zero.threshold_share` of the gap between the means from zero"""


class Prediction(Record):
    """Setting's effect predicted from adding's dose curve and each token's projection, as mean refusal scores."""

    predicted_score: Nats
    """of setting, read off adding's curve at the mean over all edited tokens of t − r̂·x"""
    predicted_score_last_token: Nats | None = None
    """the same, read at the last prompt token's t − r̂·x alone"""
    observed_score: Nats
    """of setting, as measured"""
    observed_add_score: Nats
    """of adding t, as measured"""
    score_ci_low: Nats
    """95 % interval of `observed_score`, lower end"""
    score_ci_high: Nats
    """upper end"""
    error: Nats | None = None
    """mean over prompts of predicted − observed score"""
    error_ci_low: Nats | None = None
    """95 % interval of `error` (paired), lower end"""
    error_ci_high: Nats | None = None
    """upper end"""
    inside: bool
    """the interval of `error` holds 0; in files without it, `predicted_score` lies in the interval of `observed_score`"""
    error_last_token: Nats | None = None
    """mean of predicted − observed, read at the last prompt token alone"""
    error_last_token_ci_low: Nats | None = None
    """95 % interval of `error_last_token` (paired), lower end"""
    error_last_token_ci_high: Nats | None = None
    """upper end"""
    inside_last_token: bool | None = None
    """the interval of `error_last_token` holds 0, or as at `inside`"""
    mean_dose: Units | None = None
    """mean over prompts and tokens of t − r̂·x: what setting adds"""
    correlation: Cosine | None = None
    """Pearson correlation over prompts of predicted and observed scores"""
    n: Count
    """prompts measured"""


class MatchedControl(Record):
    """r̂ and directions of four kinds under one operator, at the displacement of r̂'s edit and at its damage."""

    op: Literal["set_projection", "add", "ablate"]
    """operator; a control of ablating subtracts at every layer"""
    match: Literal["displacement", "damage"]
    """what it shares with r̂'s edit: the shift along its direction, or KL on harmless validation prompts"""
    kind: Literal["rhat", "isotropic", "covariance_matched", "permuted_labels", "harmless_topic"]
    """where the direction is from; all but r̂ are orthogonal to it"""
    seed: int
    """number of the direction within its kind"""
    prompts: Label
    """which test prompts"""
    dose: Units
    """the shift"""
    effect: Nats
    """mean of `effects`"""
    effects: tuple[Nats, ...]
    """prompt by prompt, the first test prompts in order: change of the refusal score, turned so that what the edit is for is above 0"""
    n: Count
    """prompts"""
    kl_mean: Divergence | None = None
    """mean KL(base ‖ edited) on the harmless validation prompts of the search"""


class ControlRank(Record):
    """r̂'s effect among the controls of one kind, and of all kinds together."""

    op: Literal["set_projection", "add", "ablate"]
    """operator"""
    match: Literal["displacement", "damage"]
    """what the controls share with r̂'s edit"""
    kind: Literal["all", "isotropic", "covariance_matched", "permuted_labels", "harmless_topic"]
    """which controls"""
    effect: Nats
    """r̂'s"""
    best: Nats
    """the highest of the controls"""
    rank: Annotated[int, Field(ge=1)]
    """1: above them all; a tie counts against r̂"""
    p: Fraction
    """permutation p, one-sided: rank / (controls + 1)"""
    n_controls: Annotated[Count, unit("directions")]
    """controls"""
    apart: Annotated[Natural, unit("directions")] | None = None
    """controls whose KL is not within a factor 1.5 of r̂'s after the search"""
    verdict: Judgement
    """better: r̂ does more than they do, p < 5 % and an effect above 0; undecided otherwise"""


class Rows(Part):
    """Adding against setting."""

    near_zero: NearZero | None = None
    """How many harmless prompts and edited tokens project to near zero at r̂'s layer."""
    layers: tuple[LayerRow, ...] = ()
    """Setting against adding at every layer, each with its own r̂ and t."""
    prediction: Prediction | None = None
    """Setting's effect predicted from adding's dose curve and each token's projection."""
    matched_controls: tuple[MatchedControl, ...] = ()
    """r̂ and directions of four kinds, at equal displacement and at equal damage."""
    control_ranks: tuple[ControlRank, ...] = ()
    """r̂'s effect as a rank among them."""
