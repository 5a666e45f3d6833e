"""bench.json: the rows of a bench in one record that begins with what was found, in plain sentences."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from rhat.artifacts.document import Document
from rhat.artifacts.header import Model, Timing
from rhat.artifacts.record import Index, Share, unit
from rhat.artifacts.rows import Comparison, Power, Rate, Score
from rhat.benching.rows import Compared, Damage, Dose, Frontier, LeftOut, TaskName
from rhat.gauges.rows import Gauges

SCHEMA_VERSION = 1


class BenchResults(Document):
    """Every way to find and to move refusal, at equal damage. Each task's comparisons are one family, adjusted together (Holm)."""

    command: ClassVar = "bench"
    first: ClassVar = ("sentence", "sentences")

    sentence: str
    """what was found, in short"""
    sentences: tuple[str, ...]
    """what was found in each task at each KL, and what it rests on"""
    schema_version: int = SCHEMA_VERSION
    """of this file"""
    rhat_version: str
    """version of rhat that measured it"""
    model: Model
    """the model that was measured"""
    layer: Index
    """r̂'s layer"""
    position: Annotated[int, Field(le=-1), unit("from the end")]
    """r̂'s position"""
    method: str
    """the finder that made r̂"""
    prompts_fingerprint: str
    """pins the prompts"""
    preset: str
    """how many prompts: quick, standard"""
    seed: int
    """of everything that was drawn"""
    margin: Share
    """margin of equivalence"""
    kl: tuple[float, ...]
    """what edits were matched at, nats"""
    tasks: tuple[TaskName, ...]
    """what they were compared at"""
    family: str
    """which comparisons were adjusted together, in words"""
    compared: tuple[Compared, ...] = ()
    """what is compared"""
    left_out: tuple[LeftOut, ...] = ()
    """what is not, and why"""
    doses: tuple[Dose, ...] = ()
    """asked and achieved KL of every edit"""
    rates: tuple[Rate, ...] = ()
    """refusals under each condition"""
    scores: tuple[Score, ...] = ()
    """refusal scores of the same answers"""
    damage: tuple[Damage, ...] = ()
    """what else each edit changes: entanglement, a row for each measure"""
    frontier: tuple[Frontier, ...] = ()
    """refusal against damage"""
    comparisons: tuple[Comparison, ...] = ()
    """paired comparisons of refusal rates"""
    power: tuple[Power, ...] = ()
    """what each undecided comparison would have needed"""
    gauges: Gauges | None = None
    """what `rhat gauges` writes of the same direction; absent unless that part was asked for"""
    timings: tuple[Timing, ...] = ()
    """seconds of each stage"""

    def plain(self) -> dict[str, Any]:
        """The record as JSON values; the gauges as their own file has them."""
        said = super().plain()
        return said if self.gauges is None else said | {"gauges": self.gauges.plain()}

    def comparison(self, treatment: str, reference: str, prompts: str) -> Comparison | None:
        """The row of this treatment, reference and prompts, if there is one."""
        return next((row for row in self.comparisons if row.names == (treatment, reference, prompts)), None)

    def rate(self, condition: str, prompts: str) -> Rate | None:
        """The row of `rates` of this condition and these prompts, if there is one."""
        return next((row for row in self.rates if (row.condition, row.prompts) == (condition, prompts)), None)
