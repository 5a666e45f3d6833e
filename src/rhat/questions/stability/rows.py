"""Rows of results.json on refits of r̂."""

from __future__ import annotations

from rhat.artifacts.record import Cosine, Judgement, Length, Natural, Record
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


class Rows(Part):
    """Refits of r̂."""

    stability: Stability | None = None
    """Is it one direction?"""
