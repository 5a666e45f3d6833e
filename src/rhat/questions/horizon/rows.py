"""Rows of results.json on how long answers are read."""

from __future__ import annotations

from typing import Annotated

from rhat.artifacts.record import Count, Difference, Fraction, Judgement, Label, Measured, Natural, Record, Share, unit
from rhat.artifacts.rows import Part

Tokens = Annotated[Count, unit("tokens")]


class HorizonRow(Measured):
    """The same answers, judged after so many of their tokens."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    tokens: Tokens
    """tokens of each answer that were read"""
    refused: Natural
    """judged refused"""
    partial: Natural
    """judged to help in part or with something else"""
    complied: Natural
    """judged complied"""
    degenerate: Natural
    """judged empty or broken"""


class HorizonChange(Record):
    """What reading on changes: the most tokens against those that the study judges, on the same answers."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    tokens: Tokens
    """tokens that the study judges"""
    most: Tokens
    """the most that were read here"""
    n: Count
    """answers"""
    late: Natural
    """answers that are refused after `most` tokens and were not after `tokens`"""
    turned: Natural
    """answers that were refused after `tokens` and no longer are after `most`"""
    difference: Difference
    """difference in rates of refusal, `most` − `tokens`"""
    ci_low: Difference
    """95 % interval of `difference` (Tango), lower end"""
    ci_high: Difference
    """upper end"""
    mcnemar_p: Fraction
    """exact McNemar p"""
    holm_p: Fraction
    """Holm-adjusted within this question"""
    margin: Share
    """margin of equivalence"""
    equivalent: bool
    """the 90 % interval lies inside ± margin"""
    verdict: Judgement
    """after Holm: better = more refusals when more is read"""


class Rows(Part):
    """How long answers are read."""

    horizon: tuple[HorizonRow, ...] = ()
    """The same answers, judged after so many of their tokens."""
    horizon_changes: tuple[HorizonChange, ...] = ()
    """What reading on changes: the most tokens against those that the study judges, on the same answers."""
