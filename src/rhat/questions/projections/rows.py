"""Rows of results.json on what projections look like."""

from __future__ import annotations

from rhat.artifacts.record import Count, Fraction, Index, Judgement, Label, Length, Natural, Record, Units
from rhat.artifacts.rows import Part


class Projection(Record):
    """Projection on r̂ at the chosen position, for every layer."""

    layer: Index
    """layer of resid_pre"""
    label: Label
    """harmful, harmless or borderline"""
    split: str
    """train, validation or test"""
    mean: Units
    """mean projection"""
    sd: Length
    """standard deviation"""
    n: Count
    """prompts (or pairs of answers) measured"""


class LayerAuroc(Record):
    """How well the test projection tells harmful from harmless prompts."""

    layer: Index
    """layer of resid_pre"""
    auroc: Fraction
    """area under the ROC curve"""
    ci_low: Fraction
    """95 % interval of `auroc`, lower end"""
    ci_high: Fraction
    """upper end"""
    n: Count
    """prompts (or pairs of answers) measured"""
    verdict: Judgement
    """against chance: better = area above one half"""


class Histogram(Record):
    """Histograms of the test projection, with common edges."""

    label: Label
    """harmful, harmless or borderline"""
    layer: Index
    """layer of resid_pre"""
    edges: tuple[Units, ...]
    """bin edges, one more than `counts`"""
    counts: tuple[Natural, ...]
    """prompts per bin"""


class Trajectory(Record):
    """Projection over the tokens of single prompts."""

    prompt_id: str
    """id, never the text"""
    label: Label
    """harmful, harmless or borderline"""
    values: tuple[Units, ...]
    """one per token; the last value is the last prompt token (-1)"""
    layer: Index | None = None
    """layer of resid_pre; r̂'s own when absent"""


class Rows(Part):
    """What projections look like."""

    projections: tuple[Projection, ...] = ()
    """Projection on each layer's own r̂ at the chosen position."""
    auroc: tuple[LayerAuroc, ...] = ()
    """How well the test projection tells harmful from harmless prompts."""
    histogram: tuple[Histogram, ...] = ()
    """Histograms of the test projection, with common edges."""
    trajectories: tuple[Trajectory, ...] = ()
    """Projection over the tokens of single prompts."""
