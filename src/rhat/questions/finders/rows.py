"""Rows of results.json on finders and probes."""

from __future__ import annotations

from typing import Annotated, Literal

from rhat.artifacts.record import Cosine, Count, Index, Judgement, Positive, Record, Share, unit
from rhat.artifacts.rows import Effect, Part


class FinderRow(Record):
    """Every finder at r̂'s layer."""

    name: str
    """mean_difference, lat, logistic, ccs, random"""
    layer: Index
    """layer of resid_pre"""
    cosine_to_rhat: Cosine
    """cosine with r̂"""
    test_accuracy: Share
    """harmful against harmless, sign and threshold fixed on training prompts"""
    ci_low: Share
    """95 % interval of `test_accuracy` (Wilson), lower end"""
    ci_high: Share
    """upper end"""
    n: Count
    """prompts (or pairs of answers) measured"""
    set_effect: Effect | None = None
    """setting this direction, on harmless prompts; absent for probes"""


class Probe(Record):
    """CCS as a probe, beside PCA on the same contrast pairs."""

    set: Literal["requests", "statements"]
    """the model's own requests, or the built-in true/false statements"""
    method: Literal["ccs", "pca"]
    """probe"""
    loss: Positive | None = None
    """CCS loss on training pairs"""
    consistency: float | None = None
    """mean of |p⁺ − (1 − p⁻)| on test pairs; 0 is consistent"""
    n_pairs: Annotated[Count, unit("pairs")]
    """training pairs"""
    accuracy: Share
    """on test pairs, sign fixed on training pairs"""
    ci_low: Share
    """95 % interval of `accuracy` (Wilson), lower end"""
    ci_high: Share
    """upper end"""
    n: Count
    """test pairs"""
    verdict: Judgement
    """against chance: better = accuracy above one half"""
    cosine_to_rhat: Cosine | None = None
    """cosine with r̂"""


class Rows(Part):
    """Finders and probes."""

    finders: tuple[FinderRow, ...] = ()
    """Every finder at r̂'s layer."""
    ccs: tuple[Probe, ...] = ()
    """CCS as a probe, beside PCA on the same contrast pairs."""
