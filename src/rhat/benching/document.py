"""bench.json: the rows of a bench in one record that begins with what was found, in plain sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from rhat.artifacts.files import replace_text
from rhat.artifacts.header import Model, Timing
from rhat.artifacts.record import Index, Record, Share, unit
from rhat.artifacts.rows import Comparison, Power, Rate, Score
from rhat.benching.rows import Compared, Damage, Dose, Frontier, LeftOut, TaskName
from rhat.errors import ArtifactError

SCHEMA_VERSION = 1


class BenchResults(Record):
    """Every way to find and to move refusal, at equal damage. Each task's comparisons are one family, adjusted together (Holm)."""

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
    """what else each edit changes"""
    frontier: tuple[Frontier, ...] = ()
    """refusal against damage"""
    comparisons: tuple[Comparison, ...] = ()
    """paired comparisons of refusal rates"""
    power: tuple[Power, ...] = ()
    """what each undecided comparison would have needed"""
    timings: tuple[Timing, ...] = ()
    """seconds of each stage"""

    def comparison(self, treatment: str, reference: str, prompts: str) -> Comparison | None:
        """The row of this treatment, reference and prompts, if there is one."""
        return next((row for row in self.comparisons if row.names == (treatment, reference, prompts)), None)

    def rate(self, condition: str, prompts: str) -> Rate | None:
        """The row of `rates` of this condition and these prompts, if there is one."""
        return next((row for row in self.rates if (row.condition, row.prompts) == (condition, prompts)), None)

    def plain(self) -> dict[str, Any]:
        """The record as JSON values, its version too; the sentences first."""
        said = super().plain()
        head = {name: said.pop(name) for name in ("sentence", "sentences")}
        return {**head, "schema_version": self.schema_version, **said}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, in one step.

        Raises:
            ArtifactError: if it cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(self.plain(), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ArtifactError(f"{path}: cannot write the bench ({error.strerror or error})") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> BenchResults:
        """Read what `save` wrote.

        Raises:
            ArtifactError: if it is missing or is no bench.
        """
        path = Path(path)
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{path}: cannot be read; make one with `rhat bench`") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ArtifactError(f"{path}: not a bench by rhat ({where}: {first['msg']})") from error
