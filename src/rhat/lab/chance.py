"""Held against chance: the verdict on an area or an accuracy."""

from __future__ import annotations

from rhat.statistics import Judgement, judge


def against_chance(low: float, high: float) -> Judgement:
    """The verdict on an AUROC or an accuracy of two equal kinds: better is above one half."""
    return judge((low - 0.5, high - 0.5))
