"""Rows of results.json on finders and probes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rhat.artifacts.record import Cosine, Count, Index, Judgement, Positive, Record, Share, unit
from rhat.artifacts.rows import Effect, Part


class FinderRow(Record):
    """Every finder at r̂'s layer."""

    name: str
    """a name of `rhat.directions.FINDERS`, such as mean_difference, or random; ccs, on pairs of answers, only in older files"""
    layer: Index
    """layer of resid_pre"""
    cosine_to_rhat: Cosine
    """cosine with r̂"""
    test_accuracy: Share
    """harmful against harmless, sign and threshold fixed on training prompts"""
    ci_low: Share
    """95 % interval of `test_accuracy` (Wilson, topics as clusters), lower end"""
    ci_high: Share
    """upper end"""
    n: Count
    """prompts measured"""
    clusters: Count | None = None
    """topics of these prompts; absent where every prompt has a topic of its own"""
    icc: Share | None = None
    """intraclass correlation within topics of whether a prompt is told right: 0 independent, 1 all alike"""
    design_effect: Annotated[float, Field(ge=1)] | None = None
    """the interval is that of n / design_effect independent prompts"""
    set_effect: Effect | None = None
    """setting this direction, on harmless prompts"""


class Probe(Record):
    """Probes of contrast pairs, at every layer: CCS and PCA without labels, what labels reach on the same pairs, and CCS on noise."""

    set: Literal["requests", "statements"]
    """the model's own requests, or the built-in true/false statements: two tasks, never compared"""
    method: Literal["ccs", "pca", "mean_difference", "logistic", "ccs_on_noise"]
    """ccs and pca see no labels; mean_difference and logistic do, and are the ceiling; ccs_on_noise is fitted to normal noise of the same size and covariance"""
    layer: Index | None = None
    """layer of resid_pre; r̂'s own where absent, in older files"""
    chosen: bool | None = None
    """at the layer (and, of the two ceilings, the one) with the highest `cross_validated`: these rows are what is told"""
    components: Annotated[int, Field(ge=1, json_schema_extra={"unit": "dimensions"})] | None = None
    """principal components of the training pairs that CCS was fitted in, fewer than a quarter of the pairs; absent in older files, which used every dimension"""
    loss: Positive | None = None
    """CCS loss on training pairs; no evidence of anything, as that of ccs_on_noise shows"""
    consistency: float | None = None
    """mean of |p⁺ − (1 − p⁻)| on test pairs; 0 is consistent"""
    cross_validated: Share | None = None
    """accuracy in 4 folds of the training pairs, for the probes that see labels"""
    n_pairs: Annotated[Count, unit("pairs")]
    """training pairs"""
    accuracy: Share
    """on test pairs, sign fixed on training pairs"""
    ci_low: Share
    """95 % interval of `accuracy` (Wilson, clusters as below), lower end"""
    ci_high: Share
    """upper end"""
    n: Count
    """test pairs"""
    clusters: Count | None = None
    """topics of the requests, or facts of the statements; absent where every pair has one of its own"""
    icc: Share | None = None
    """intraclass correlation within clusters of whether a pair is told right: 0 independent, 1 all alike"""
    design_effect: Annotated[float, Field(ge=1)] | None = None
    """the interval is that of n / design_effect independent pairs"""
    verdict: Judgement
    """against chance: better = accuracy above one half"""
    cosine_to_rhat: Cosine | None = None
    """cosine with r̂"""


class Rows(Part):
    """Finders and probes."""

    finders: tuple[FinderRow, ...] = ()
    """Every finder at r̂'s layer."""
    ccs: tuple[Probe, ...] = ()
    """Probes of contrast pairs."""
