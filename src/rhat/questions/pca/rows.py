"""Rows of results.json on principal components."""

from __future__ import annotations

from rhat.artifacts.record import Cosine, Index, Label, Record, Share, Units
from rhat.artifacts.rows import Part


class Point(Record):
    """Rows of `pca[].points`."""

    x: Units
    """PC 1"""
    y: Units
    """PC 2"""
    label: Label
    """harmful, harmless, borderline or twin"""
    prompt_id: str
    """id, never the text"""
    category: str | None = None
    """topic group"""


class Components(Record):
    """The first two principal components of both kinds of test prompts."""

    layer: Index
    """layer of resid_pre"""
    explained: tuple[Share, ...]
    """share of variance of each component"""
    cosine_pc1_rhat: Cosine
    """cosine between PC 1 and r̂"""
    points: tuple[Point, ...] = ()
    """one per prompt; may be left out for layers not drawn"""


class Rows(Part):
    """Principal components."""

    pca: tuple[Components, ...] = ()
    """The first two principal components of both kinds of test prompts."""
