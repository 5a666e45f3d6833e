"""Rows of results.json on what projections look like."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rhat.artifacts.record import Count, Fraction, Index, Judgement, Label, Length, Natural, Record, Units
from rhat.artifacts.rows import Part


class Projection(Record):
    """Projection on r̂ at the chosen position, for every layer."""

    layer: Index
    """layer of resid_pre"""
    label: Label
    """harmful, harmless, borderline or twin"""
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
    """harmful, harmless, borderline or twin"""
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
    """harmful, harmless, borderline or twin"""
    values: tuple[Units, ...]
    """one per token; the last value is the last prompt token (-1)"""
    layer: Index | None = None
    """layer of resid_pre; r̂'s own when absent"""


class Words(Record):
    """Refused against complied prompts of one kind by their words alone: a logistic regression fitted on the training prompts of r̂."""

    comparison: str
    """as in `auroc_within`"""
    auroc: Fraction
    """area under the ROC curve, by words"""
    ci_low: Fraction
    """95 % interval of `auroc`, lower end"""
    ci_high: Fraction
    """upper end"""
    difference: Annotated[float, Field(ge=-1, le=1)]
    """area of the projection − area by words, on the same prompts"""
    difference_ci_low: float
    """95 % interval of `difference` (DeLong, paired, topics as clusters), lower end"""
    difference_ci_high: float
    """upper end"""
    n_positive: Count
    """refused prompts"""
    n_negative: Count
    """complied prompts"""
    verdict: Judgement
    """of the difference: better = the projection tells more than the words"""


class Transfer(Record):
    """r̂ found without one category of harmful prompts, tested on the test prompts of each, against all harmless ones."""

    left_out: str
    """the category that was left out"""
    tested: str
    """the category that is tested; where it is `left_out`, r̂ never saw it"""
    auroc: Fraction
    """area under the ROC curve"""
    ci_low: Fraction
    """95 % interval of `auroc`, lower end"""
    ci_high: Fraction
    """upper end"""
    words_auroc: Fraction | None = None
    """the same by words, from a classifier that has not seen the category; of `tested` = `left_out` alone"""
    words_ci_low: Fraction | None = None
    """95 % interval of `words_auroc`, lower end"""
    words_ci_high: Fraction | None = None
    """upper end"""
    n_positive: Count
    """harmful prompts of the category"""
    n_negative: Count
    """harmless prompts"""
    verdict: Judgement
    """against chance: better = area above one half"""


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
    words: tuple[Words, ...] = ()
    """Refused against complied prompts by their words alone."""
    transfer: tuple[Transfer, ...] = ()
    """r̂ found without one category of harmful prompts, tested on each."""
