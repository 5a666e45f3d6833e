"""Rows of results.json on attention heads."""

from __future__ import annotations

from typing import Annotated, Literal

from rhat.artifacts.record import (
    Count,
    DifferenceUnit,
    Fraction,
    FromEnd,
    HeadCount,
    Index,
    InUnit,
    Judgement,
    Measured,
    Natural,
    Place,
    Record,
    Units,
    unit,
)
from rhat.artifacts.rows import Part


class HeadRow(Record):
    """Rows of `heads.ranking`."""

    layer: Index
    """layer"""
    head: Index
    """query head"""
    attribution: Units
    """what it contributes to the gap in projection, harmful − harmless"""


class HeadCurve(Measured):
    """Rows of `heads.curve`."""

    k: Annotated[Natural, unit("heads")]
    """heads patched; 0 is the baseline"""
    kind: Literal["attributed", "random", "greedy"]
    """how they were chosen"""
    seed: int | None = None
    """of a random choice"""
    draws: Natural | None = None
    """random choices among which the prompts were dealt, each prompt given one"""
    refused: Natural | None = None
    """judged refused"""


class HeadComparison(Record):
    """Rows of `heads.comparisons`."""

    k: HeadCount
    """heads patched"""
    kind: Literal["attributed", "greedy"]
    """how they were chosen"""
    reference: Literal["baseline", "random"]
    """against what"""
    difference: InUnit
    """patched − reference"""
    ci_low: InUnit
    """95 % interval of `difference` (paired), lower end"""
    ci_high: InUnit
    """upper end"""
    unit: DifferenceUnit
    """what the difference is in: refusal rate (`share`) or refusal score (`log-odds`, nats)"""
    n: Count
    """pairs"""
    treatment_only: Natural | None = None
    """pairs where only the patched run refuses, by generation"""
    reference_only: Natural | None = None
    """pairs where only the reference does"""
    holm_p: Fraction | None = None
    """Holm-adjusted over all rows by log-odds"""
    sequence_p: Fraction | None = None
    """of rows by generation: p of refusing more than both references at this k and at every larger one"""
    verdict: Judgement
    """by the adjusted p: better = the patched heads refuse more"""


class Heads(Record):
    """Which heads write r̂, and how few of them suffice."""

    position: FromEnd
    """token position that was patched"""
    ranking: tuple[HeadRow, ...]
    """heads below r̂'s layer, largest attribution first"""
    curve: tuple[HeadCurve, ...] = ()
    """refusal against k"""
    comparisons: tuple[HeadComparison, ...] = ()
    """per k against baseline and random heads"""
    smallest_k: HeadCount | None = None
    """smallest k of kind attributed that refuses more, by generation, than no patch and than random heads, tested from the most heads
    down; absent if none does"""
    greedy: tuple[Place, ...] = ()
    """heads in the order greedy selection took them"""


class Rows(Part):
    """Attention heads."""

    heads: Heads | None = None
    """Which heads write r̂, and how few of them suffice."""
