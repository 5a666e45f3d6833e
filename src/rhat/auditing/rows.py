"""The rows of audit.json, as records with unit and meaning; the file begins with what was found, in plain sentences."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from rhat.artifacts.document import Document
from rhat.artifacts.header import Model, Timing
from rhat.artifacts.record import Cosine as CosineValue
from rhat.artifacts.record import (
    Count,
    Divergence,
    Fraction,
    Index,
    Label,
    Length,
    Nats,
    Natural,
    Positive,
    Record,
    Share,
    Units,
    unit,
)
from rhat.artifacts.rows import Comparison, Power, Rate, Score

SCHEMA_VERSION = 1
Word = Literal["changes", "leaves", "undecided"]
CONDITIONS = {
    "baseline": "no steering",
    "vector": "the vector",
    "cleaned_same_dose": "without its part along r̂, same dose",
    "cleaned": "without its part along r̂, same KL",
    "rhat": "r̂ itself",
    "random": "random directions",
}
"""What is compared, by condition id, in words."""


class Vector(Record):
    """A vector that was added: where, and where it comes from."""

    file: str | None = None
    """the file as it was given"""
    site: str
    """where it is added, as resid_pre.12"""
    length: Length
    """its length in the file; of r̂ the distance of the two means"""
    method: str | None = None
    """what made it, as far as the file says"""


class LayerCosine(Record):
    """Cosine of the vector with the refusal direction of each layer."""

    layer: Index
    """layer of resid_pre"""
    cosine: CosineValue
    """with r̂ at r̂'s own layer, with the difference of means at the others"""
    own: bool = False
    """whether it is r̂'s own layer"""


class Dose(Record):
    """The coefficient at which each direction is added, and the KL that it makes."""

    condition: str
    """a key of CONDITIONS"""
    seed: int | None = None
    """of a random direction"""
    site: str
    """where it is added"""
    dose: Units
    """multiple of the unit vector"""
    kl_mean: Divergence
    """mean KL(unedited ‖ steered) of the next token on the harmless validation prompts of the search"""
    close: bool
    """whether that is within 15 % of what was wanted; of the same dose nothing was"""


class Moved(Record):
    """Prompts that were moved to the other side: answered before and refused after, and the reverse."""

    condition: str
    """a key of CONDITIONS"""
    prompts: Label
    """which prompts"""
    n: Count
    """prompts measured"""
    refused_now: Share
    """share that was answered without steering, and is refused with it"""
    refused_now_low: Share
    """95 % interval of `refused_now` (Wilson), lower end"""
    refused_now_high: Share
    """upper end"""
    answered_now: Share
    """share that was refused without steering, and is not with it"""
    answered_now_low: Share
    """95 % interval of `answered_now` (Wilson), lower end"""
    answered_now_high: Share
    """upper end"""


class Effect(Record):
    """Mean change of the refusal score (first-token log-odds) under each direction, against no steering."""

    condition: str
    """a key of CONDITIONS"""
    seed: int | None = None
    """of a random direction"""
    prompts: Label
    """which prompts"""
    effect: Nats
    """positive: towards refusal"""
    n: Count
    """prompts scored"""


class Rank(Record):
    """Where the vector stands among the random directions, by the change of the refusal score."""

    condition: str
    """vector or cleaned"""
    prompts: Label
    """which prompts"""
    towards: Literal["refusal", "answers"]
    """the side that the condition moves these prompts to; ranks are by the change in that direction"""
    rank: Annotated[int, unit("rank")]
    """1: it moves the score further than every random direction"""
    p: Fraction
    """(1 + random directions that move it as far) / (1 + random directions)"""
    n_controls: Annotated[Natural, unit("directions")]
    """random directions"""


class Audit(Document):
    """What a vector does to refusal. `comparisons` of the question `audit` are the family of the verdict, adjusted together."""

    command: ClassVar = "audit"

    sentence: str
    """the verdict, with its intervals"""
    sentences: tuple[str, ...]
    """what it rests on: the doses, r̂ at the same KL, the cleaned vector, the random directions"""
    verdict: Word
    """changes: more than random directions do, and not shown to be less than the margin; leaves: shown to change it by less than the margin, where r̂ changes it"""
    schema_version: int = SCHEMA_VERSION
    """of this file"""
    rhat_version: str
    """version of rhat that measured it"""
    model: Model
    """the model that was measured"""
    vector: Vector
    """the vector that is audited"""
    direction: Vector
    """r̂"""
    prompts_fingerprint: str
    """pins the prompts"""
    seed: int
    """of the random directions"""
    margin: Share
    """margin of equivalence"""
    kl: Annotated[Positive, unit("nats")]
    """the KL that doses were searched for"""
    n_searched: Count
    """harmless validation prompts of the search"""
    along: CosineValue
    """cosine of the vector with r̂; the square is the share of its squared length that lies along r̂"""
    chance: Annotated[Positive, unit("cosine")]
    """standard deviation of the cosine of a random direction: 1 / √d_model"""
    family: str
    """which comparisons were adjusted together, in words"""
    cosines: tuple[LayerCosine, ...] = ()
    """cosines by layer"""
    doses: tuple[Dose, ...] = ()
    """what was added"""
    rates: tuple[Rate, ...] = ()
    """refusals under each condition"""
    scores: tuple[Score, ...] = ()
    """refusal scores of the same answers"""
    comparisons: tuple[Comparison, ...] = ()
    """paired comparisons of refusal rates"""
    power: tuple[Power, ...] = ()
    """what each undecided comparison would have needed"""
    moved: tuple[Moved, ...] = ()
    """prompts that were moved to the other side"""
    effects: tuple[Effect, ...] = ()
    """changes of the refusal score, each random direction by itself"""
    ranks: tuple[Rank, ...] = ()
    """ranks among the random directions"""
    timings: tuple[Timing, ...] = ()
    """seconds of each stage"""

    def comparison(self, treatment: str, reference: str, prompts: str) -> Comparison | None:
        """The row of this treatment, reference and prompts, if there is one."""
        return next((row for row in self.comparisons if row.names == (treatment, reference, prompts)), None)
