"""Rows of results.json on borderline prompts, their twins and the guard."""

from __future__ import annotations

from typing import Literal

from rhat.artifacts.record import Count, Fraction, Length, Record, Share, Units
from rhat.artifacts.rows import Part

TWINS_APART = "twins vs borderline"
"""What tells the row of `auroc_within` on twins against borderline prompts."""


class GroupProjection(Record):
    """Projection of borderline prompts at r̂'s layer, and of their twins."""

    group: Literal["all", "refused", "complied", "twins"]
    """borderline prompts by the baseline's answer, or their unsafe twins"""
    mean: Units
    """mean projection"""
    sd: Length
    """standard deviation"""
    n: Count
    """prompts (or pairs of answers) measured"""


class GuardRow(Record):
    """The guard: a threshold on the projection, calibrated on the calibration split and measured on test prompts."""

    measure: Literal["auroc", "false_positive_rate", "true_positive_rate", "borderline_flagged", "twin_flagged"]
    """auroc of harmful against harmless; shares of harmless, harmful, borderline and twin prompts above the threshold"""
    estimate: Fraction
    """what was measured on test prompts"""
    ci_low: Fraction
    """95 % interval of `estimate`, lower end"""
    ci_high: Fraction
    """upper end"""
    n: Count
    """prompts (or pairs of answers) measured"""
    threshold: Units
    """a prompt is flagged above it"""
    target_fpr: Share
    """false-positive rate that it was calibrated for"""


class Rows(Part):
    """Borderline prompts and the guard."""

    borderline_projections: tuple[GroupProjection, ...] = ()
    """Projection of borderline prompts at r̂'s layer, and of their twins."""
    guard: tuple[GuardRow, ...] = ()
    """The guard: a threshold on the projection, calibrated on the calibration split and measured on test prompts."""
