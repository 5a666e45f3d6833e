"""The rows of gauges.json, as records with unit and meaning; the file begins with what was found, in plain sentences."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from rhat.artifacts.document import Document
from rhat.artifacts.header import Model, Timing
from rhat.artifacts.record import Cosine as CosineValue
from rhat.artifacts.record import (
    Count,
    Difference,
    DifferenceUnit,
    Fraction,
    FromEnd,
    InUnit,
    Judgement,
    Label,
    Length,
    Nats,
    Positive,
    Record,
    Units,
    unit,
)
from rhat.artifacts.rows import Rate

SCHEMA_VERSION = 1
Name = Literal["harmfulness", "refusal"]
Measure = Literal["judged_harmful", "refused"]
Word = Literal["dissociated", "not_shown"]
Alpha = Annotated[float, unit("α")]
OWN: dict[str, str] = {"judged_harmful": "harmfulness", "refused": "refusal"}
"""The gauge that each measure is held to belong to."""


class Gauge(Record):
    """One of the two directions: the difference of means of training prompts at one token."""

    name: Name
    """harmfulness: at the instruction's last token, of all training prompts by their label; refusal: at the template's last token, of those that behave as labelled"""
    site: str
    """where it is read and set"""
    position: FromEnd
    """the token"""
    length: Length
    """distance of the two means along it"""
    mean_harmful: Units
    """mean projection of harmful training prompts; α = 1"""
    mean_harmless: Units
    """of harmless ones; α = 0"""


class Shift(Record):
    """What setting one gauge to the other side's mean does: positive is towards that other side."""

    measure: Measure
    """judged_harmful: log-odds of Yes to the inversion question; refused: refusals of judged answers"""
    condition: Name
    """the gauge that is set, at every token"""
    reference: Literal["baseline", "harmfulness", "refusal", "random"]
    """what it is compared with on the same prompts: nothing set, the other gauge set, or random directions, one a prompt"""
    prompts: Label
    """which prompts: harmful ones are set to the harmless mean, harmless ones to the harmful mean"""
    n: Count
    """prompts"""
    unit: DifferenceUnit
    """of the difference"""
    difference: InUnit
    """change under the condition less change under the reference"""
    ci_low: InUnit
    """95 % interval (Tango's of shares, t of log-odds; topics are clusters), lower end"""
    ci_high: InUnit
    """upper end"""
    p: Fraction
    """two-sided p by itself (exact McNemar, t)"""
    holm_p: Fraction
    """the same, adjusted over all rows"""
    verdict: Judgement
    """better: clearly towards the other side"""


class Placed(Record):
    """One test prompt in the plane of both gauges, unedited."""

    prompt_id: str
    """its id"""
    prompts: Label
    """its label"""
    harmfulness: Alpha
    """0 at the mean of harmless training prompts, 1 at that of harmful ones"""
    refusal: Alpha
    """the same on the refusal gauge"""
    judged: Nats
    """log-odds of Yes to the inversion question"""
    refused: bool
    """whether its answer is a refusal"""


class Cloud(Record):
    """Where the prompts of a label lie that are refused, and that are not."""

    prompts: Label
    """which prompts"""
    refused: bool
    """those that are refused, or those that are not"""
    n: Count
    """prompts"""
    harmfulness: Alpha
    """mean on the harmfulness gauge"""
    harmfulness_low: Alpha
    """95 % interval (t), lower end"""
    harmfulness_high: Alpha
    """upper end"""
    refusal: Alpha
    """mean on the refusal gauge"""
    refusal_low: Alpha
    """95 % interval (t), lower end"""
    refusal_high: Alpha
    """upper end"""


class Guarded(Record):
    """How well a guard ranks harmful test prompts above others: on both gauges (logistic, fitted on training prompts), and on r̂ alone."""

    negatives: Label
    """what harmful prompts are told from"""
    n_positive: Count
    """harmful prompts"""
    n_negative: Count
    """the others"""
    both: Fraction
    """AUROC of the guard on both gauges"""
    both_low: Fraction
    """95 % interval (DeLong; topics are clusters), lower end"""
    both_high: Fraction
    """upper end"""
    rhat: Fraction
    """AUROC of the projection on r̂"""
    rhat_low: Fraction
    """95 % interval, lower end"""
    rhat_high: Fraction
    """upper end"""
    difference: Difference
    """both − r̂ alone, on the same prompts"""
    difference_low: Difference
    """95 % paired interval, lower end"""
    difference_high: Difference
    """upper end"""
    verdict: Judgement | None = None
    """of the difference; only on borderline prompts, which is the one comparison that is judged"""


class Inversion(Record):
    """Whether the unedited model can answer the inversion question: harmful test prompts against harmless ones, by the log-odds of Yes."""

    n_positive: Count
    """harmful prompts"""
    n_negative: Count
    """harmless prompts"""
    auroc: Fraction
    """area under the curve"""
    low: Fraction
    """95 % interval (DeLong; topics are clusters), lower end"""
    high: Fraction
    """upper end"""


class Gauges(Document):
    """Harmfulness and refusal as two gauges of one model."""

    command: ClassVar = "gauges"

    sentence: str
    """the verdict, with its intervals"""
    sentences: tuple[str, ...]
    """what it rests on, where over-refused prompts lie, and the guards"""
    verdict: Word
    """dissociated: on some label each gauge moves its own measure, and moves it further than the other gauge and than random directions do; not_shown: that is not shown"""
    schema_version: int = SCHEMA_VERSION
    """of this file"""
    rhat_version: str
    """version of rhat that measured it"""
    model: Model
    """the model that was measured"""
    prompts_fingerprint: str
    """pins the prompts"""
    seed: int
    """of what is drawn"""
    gauges: tuple[Gauge, Gauge]
    """harmfulness, and refusal"""
    cosine: CosineValue
    """of the two directions"""
    chance: Annotated[Positive, unit("cosine")]
    """standard deviation of the cosine of two random directions: 1 / √d_model"""
    question: tuple[str, ...]
    """the inversion question, in each order of its options"""
    inversion: Inversion | None = None
    """whether the model can answer it"""
    family: str
    """which comparisons were adjusted together, in words"""
    shifts: tuple[Shift, ...] = ()
    """what setting each gauge does"""
    rates: tuple[Rate, ...] = ()
    """refusals under each condition; `condition` is baseline, the gauge that is set, or random"""
    clouds: tuple[Cloud, ...] = ()
    """where refused prompts and others lie"""
    guards: tuple[Guarded, ...] = ()
    """guards on both gauges and on r̂ alone"""
    plane: tuple[Placed, ...] = ()
    """every test prompt"""
    timings: tuple[Timing, ...] = ()
    """seconds of each stage"""

    def shift(self, measure: str, condition: str, reference: str, prompts: str) -> Shift | None:
        """The row of this measure, condition, reference and prompts, if there is one."""
        wanted = measure, condition, reference, prompts
        return next((r for r in self.shifts if (r.measure, r.condition, r.reference, r.prompts) == wanted), None)
