"""Rows of results.json on dose and response."""

from __future__ import annotations

from typing import Literal

from rhat.artifacts.record import Divergence, InUnit, Measured, Record, Units
from rhat.artifacts.rows import Part


class Dose(Measured):
    """Refusal against the projection that is aimed at."""

    op: Literal["set_projection", "add"] | None = None
    """operator; set_projection when absent"""
    target: Units
    """projection aimed at: for add, the harmless mean + `coefficient`"""
    coefficient: Units | None = None
    """of add"""
    kl_mean: Divergence | None = None
    """mean KL(base ‖ edited) of the next token on harmless prompts"""


class HalfEffect(Record):
    """The dose of half effect."""

    op: Literal["set_projection", "add"]
    """operator"""
    dose: InUnit
    """target at which half the largest effect is reached"""
    ci_low: InUnit
    """95 % interval of `dose` over the prompts, which are the same at all doses, lower end"""
    ci_high: InUnit
    """upper end"""
    unit: str
    """such as "residual units" or "× the gap of the means\""""


class Rows(Part):
    """Dose and response."""

    dose: tuple[Dose, ...] = ()
    """Refusal against the projection that is aimed at."""
    half_effect: tuple[HalfEffect, ...] = ()
    """The dose of half effect."""
