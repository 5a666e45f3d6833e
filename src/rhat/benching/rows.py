"""The rows of bench.json and of a calibrated dose, as records with unit and meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from rhat.artifacts.header import Model
from rhat.artifacts.record import (
    Cosine,
    Count,
    Divergence,
    Fraction,
    Judgement,
    Label,
    Nats,
    Natural,
    Positive,
    Record,
    Share,
    unit,
)
from rhat.vocabulary import Side

TaskName = Literal["induce", "remove", "over-refusal"]

InParameterUnit = Annotated[float, unit("that of the parameter")]
InMeasureUnit = Annotated[float, unit("that of the measure")]
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


class Compared(Record):
    """What is compared: a direction and where it acts."""

    condition: str
    """id, such as finder:lat; in other rows @ and the KL follow"""
    part: str
    """finder, rule, operator, control or prompting"""
    name: str
    """what it is called there"""
    site: str | None = None
    """where the direction is of; absent for promptings"""
    cosine: Cosine | None = None
    """cosine of the direction with the reference's"""
    same_as: str | None = None
    """the condition that is measured in its place: the same direction at the same layer, put in the same way"""


class LeftOut(Record):
    """What is not compared, and why."""

    part: str
    """finder, rule, operator, control or prompting; task: a whole task"""
    name: str
    """what it is called there"""
    task: TaskName | None = None
    """in which task; all when absent"""
    kl: Asked | None = None
    """at which KL; all when absent"""
    reason: str
    """why"""


class Dose(Record):
    """The dose at which an edit makes the KL that is asked for, on validation prompts."""

    condition: str
    """id, with the KL"""
    task: TaskName
    """the task that it was searched for: over-refusal has the doses of inducing"""
    prompts: Label
    """on whose validation prompts"""
    seed: int | None = None
    """of a random direction"""
    op: str
    """name of the operator"""
    parameter: str
    """what its number is called"""
    dose: InParameterUnit
    """the operator's number"""
    kl: Asked
    """the KL that was asked for"""
    kl_mean: Divergence
    """mean KL(unedited ‖ edited) of the next token that it makes"""
    ci_low: Nats
    """95 % interval of `kl_mean` (topics as clusters), lower end"""
    ci_high: Nats
    """upper end"""
    n: Count
    """prompts of the search"""
    within: bool
    """whether `kl_mean` is within 10 % of `kl`; edits of which it is not are left out, so this is true of all rows"""


class Damage(Record):
    """What else an edit changes: a row for each measure, with the paired difference from the unedited model."""

    condition: str
    """id, with the KL"""
    task: TaskName
    """the task; of measures with texts or questions of their own the one that doses were searched for: over-refusal has those of inducing"""
    kl: Asked | None = None
    """the KL that was asked for; absent where none was"""
    prompts: Label | None = None
    """which prompts; absent for measures with texts or questions of their own"""
    measure: Annotated[str, unit("see below")]
    """kl: KL(unedited ‖ edited) of the next token, nats; degenerate: share of answers that are empty or broken; cross_entropy_neutral: of neutral texts, nats a token; cross_entropy_own: of the unedited model's own answers to harmless test prompts, nats a token; capability: share of questions answered rightly"""
    value: InMeasureUnit
    """mean"""
    ci_low: InMeasureUnit
    """95 % interval of `value` (Wilson's of shares, t of means; topics are clusters), lower end"""
    ci_high: InMeasureUnit
    """upper end"""
    n: Natural
    """prompts, texts or questions measured"""
    available: Natural | None = None
    """texts or questions in the set that these were drawn from; absent for prompts"""
    difference: InMeasureUnit | None = None
    """value − that of the unedited model, item by item; absent, as all below, of the unedited model, and of kl, which is one itself"""
    difference_low: InMeasureUnit | None = None
    """95 % interval of `difference` (Tango's of shares, t of means; topics are clusters), lower end"""
    difference_high: InMeasureUnit | None = None
    """upper end"""
    p: Fraction | None = None
    """two-sided p of the difference by itself (exact McNemar of shares, t of means)"""
    holm_p: Fraction | None = None
    """the same, adjusted over all of a task's rows (Holm), with both margins of shares among them"""
    margin: Share | None = None
    """margin of equivalence; shares alone have one"""
    equivalence_p: Fraction | None = None
    """p of the two one-sided tests at ± margin, adjusted together with the differences"""
    verdict: Judgement | None = None
    """better: higher, whatever that is worth; worse: lower; equivalent: `equivalence_p` < 5 % and no difference shown; undecided"""


class Frontier(Record):
    """Refusal against damage on the same test prompts, with intervals that hold together."""

    condition: str
    """id, with the KL"""
    part: str
    """finder, rule, operator, control, prompting or none"""
    task: TaskName
    """the task"""
    kl: Asked | None = None
    """the KL that was asked for; absent where none was"""
    prompts: Label
    """which prompts"""
    n: Count
    """prompts measured"""
    rate: Share
    """share of the answers that are refusals"""
    ci_low: Share
    """joint 95 % interval (97.5 % each) of `rate`, lower end"""
    ci_high: Share
    """upper end"""
    kl_mean: Divergence
    """mean KL of the next token on these test prompts"""
    kl_low: Nats
    """joint 95 % interval (97.5 % each) of `kl_mean`, lower end"""
    kl_high: Nats
    """upper end"""
