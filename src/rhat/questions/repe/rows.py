"""Rows of results.json on RepE's control and the factorial."""

from __future__ import annotations

from typing import Annotated

from rhat.artifacts.record import Count, Divergence, Label, Measured, Nats, Points, Record, Share, Span, Units, unit
from rhat.artifacts.rows import Part


class Setting(Record):
    """`repe.best` and rows of `repe.table`."""

    layers: Span
    """range of layers, both ends included"""
    coefficient: Units
    """multiple of the reading vectors; mean over the layers, where it is scaled by `dose`"""
    dose: float | None = None
    """coefficient in units of the length of each layer's raw difference; absent in older files, whose coefficient is the same at all layers"""
    validation_score: Nats
    """mean refusal score on harmless validation prompts"""
    validation_rate: Share | None = None
    """refusal rate on them by generation; absent where it was not measured"""
    kl_mean: Divergence | None = None
    """mean KL(base ‖ edited) of the next token on harmless prompts"""
    inside: bool | None = None
    """of the best alone: whether a larger and a smaller dose were tried at its place"""


class Target(Record):
    """`repe.target` and rows of `repe.targets`: setting, tuned as RepE was."""

    target: Units
    """where the projection is set"""
    dose: Annotated[float, unit("× the gap of the means")]
    """how far that is from the harmless mean; 1 is the published target"""
    validation_score: Nats
    """mean refusal score on harmless validation prompts"""
    validation_rate: Share | None = None
    """refusal rate on them by generation; absent where it was not measured"""
    kl_mean: Divergence | None = None
    """mean KL(base ‖ edited) of the next token on harmless prompts"""
    inside: bool | None = None
    """of the best alone: whether a larger and a smaller dose were tried"""


class Boost(Record):
    """Rows of `repe.boosts`. The only rows in points rather than shares."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    points: Points
    """100 × (rate − baseline rate)"""
    ci_low: Points
    """95 % interval of `points` (paired), lower end"""
    ci_high: Points
    """upper end"""
    n: Count
    """pairs"""


class Published(Record):
    """`repe.published`."""

    value: Points
    """8 for Vicuna-13B"""
    model: str | None = None
    """the model they used"""
    source: str
    """where it is from"""


class RepE(Record):
    """RepE control beside setting."""

    best: Setting
    """the setting chosen on validation prompts"""
    table: tuple[Setting, ...] = ()
    """every setting tried"""
    target: Target | None = None
    """the target of setting that was chosen on validation prompts"""
    targets: tuple[Target, ...] = ()
    """every target tried"""
    boosts: tuple[Boost, ...]
    """boost over baseline on the same test prompts"""
    published: Published | None = None
    """the number of the paper, labelled as theirs"""


class Factor(Measured):
    """What makes the difference: direction × operator × layers × scope × dose, by log-odds."""

    direction: str
    """rhat, lat, random"""
    op: str
    """operator"""
    layers: str
    """such as "16" or "10-18\""""
    scope: str
    """token scope"""
    dose: Annotated[float, unit("× the gap of the means")]
    """size of the edit"""
    kl_mean: Divergence | None = None
    """mean KL(base ‖ edited) of the next token on harmless prompts"""


class Rows(Part):
    """Representation engineering."""

    repe: RepE | None = None
    """RepE control beside setting."""
    factorial: tuple[Factor, ...] = ()
    """What makes the difference: direction × operator × layers × scope × dose, by log-odds."""
