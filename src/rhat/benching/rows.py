"""The rows of bench.json and of a calibrated dose, as records with unit and meaning."""

from __future__ import annotations

from typing import Annotated

from rhat.artifacts.header import Model
from rhat.artifacts.record import Count, Divergence, Label, Nats, Positive, Record, unit
from rhat.vocabulary import Side

InParameterUnit = Annotated[float, unit("that of the parameter")]
Asked = Annotated[Positive, unit("nats")]


class TriedDose(Record):
    """A dose that a calibration tried."""

    dose: InParameterUnit
    """the operator's number"""
    kl_mean: Divergence
    """mean KL(unedited ‖ edited) of the next token there"""


class CalibratedDose(Record):
    """The dose of an edit at which it changes the next token by a given mean KL on validation prompts."""

    sentence: str
    """what was found, with its intervals"""
    op: str
    """name of an operator"""
    parameter: str
    """what its number is called"""
    unit: str | None = None
    """unit of that number; absent for a plain factor"""
    towards: Side
    """what the edit moves answers towards"""
    dose: InParameterUnit
    """the operator's number"""
    dose_ci_low: InParameterUnit
    """95 % interval of `dose` (bootstrap of prompts by topic), lower end"""
    dose_ci_high: InParameterUnit
    """upper end"""
    kl: Asked
    """the KL that was asked for"""
    kl_mean: Divergence
    """mean KL(unedited ‖ edited) of the next token at that dose"""
    ci_low: Nats
    """95 % interval of `kl_mean` (topics as clusters), lower end"""
    ci_high: Nats
    """upper end"""
    within: bool
    """whether `kl_mean` is within 10 % of `kl`"""
    n: Count
    """prompts measured"""
    clusters: Count
    """topics of these prompts"""
    prompts: Label
    """which prompts"""
    split: str
    """of which split: validation; test for borderline prompts where all are of it, the second of every three topics"""
    scope: str
    """tokens that are edited"""
    sites: str
    """where it acts"""
    tried: tuple[TriedDose, ...] = ()
    """every dose that was tried"""
    rhat_version: str
    """version of rhat that measured it"""
    model: Model
    """the model that was measured"""
    prompts_fingerprint: str
    """pins the prompts"""
    seed: int
    """of the bootstrap"""
