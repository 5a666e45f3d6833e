"""diff.json as a whole: what `rhat diff` found, its outcome and its exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from rhat.artifacts.files import finite_number, no_constant, write_whole
from rhat.artifacts.header import Model, PromptCount
from rhat.artifacts.record import Cosine, Record, Share
from rhat.artifacts.rows import Rate
from rhat.diff.rows import Apart, Change, FoundDirection, LayerCosine, Matrix, Projected, Removal, SetRate, Side, Word
from rhat.errors import ArtifactError
from rhat.questions.schema import schema_of

SCHEMA_VERSION = 1
EXIT_CODES: dict[Word, int] = {"no worse": 0, "worse": 1, "undecided": 3}
"""What `rhat diff` ends with; 2 is bad input, as everywhere."""


class Diff(Record):
    """Whether refusal changed from model A to model B, and what became of r̂."""

    schema_version: Literal[1]
    """version of this contract"""
    outcome: Word
    """worse: on some kind of prompts; no worse: on all of them; else undecided"""
    sentences: tuple[str, ...]
    """the answer in plain sentences"""
    margin: Share
    """how much worse does not matter"""
    a: Model
    """The first model: what B is held against."""
    b: Model
    """The second."""
    prompt_set: str
    """name of the prompts"""
    prompts_fingerprint: str
    """sha256 of the contrast set and its splits"""
    prompts: tuple[PromptCount, ...] = ()
    """How many prompts there are, and how many were measured."""
    changes: tuple[Change, ...]
    """One row a kind of prompts."""
    rates: tuple[Rate, ...] = ()
    """The answers of each class; the condition is A, B, or which r̂ was set in which, such as "B, r̂ of A set"."""
    directions: tuple[FoundDirection, ...] = ()
    """Each model's r̂."""
    direction_cosine: Cosine | None = None
    """between the two r̂, which may be at different layers; absent where there are not two of one width"""
    cosines: tuple[LayerCosine, ...] = ()
    """Layer by layer; none where the models differ in width or depth."""
    projections: tuple[Projected, ...] = ()
    """Projections of test prompts."""
    separations: tuple[Apart, ...] = ()
    """How well projections tell harmful from harmless prompts."""
    set_rates: tuple[SetRate, ...] = ()
    """Each r̂ set in each model."""
    removals: tuple[Removal, ...] = ()
    """Whether each r̂ was removed from each model's weights."""
    matrices: tuple[Matrix, ...] = ()
    """The matrices that this stands on."""
    notes: tuple[str, ...] = ()
    """what could not be compared, and why"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """preset, seed, judged tokens and random directions; free"""
    manifest: dict[str, Any] = Field(default_factory=dict)
    """versions and machine; free"""

    @property
    def exit_code(self) -> int:
        """0 where B is no worse, 1 where it is worse, 3 where that is undecided."""
        return EXIT_CODES[self.outcome]

    def change(self, prompts: str) -> Change | None:
        """The row of one kind of prompts, if it was measured."""
        return next((row for row in self.changes if row.prompts == prompts), None)

    def removal(self, model: Side, direction: Side) -> Removal | None:
        """Whether that r̂ was removed from that model's weights, if it was looked for."""
        return next((row for row in self.removals if (row.model, row.direction) == (model, direction)), None)

    def __repr__(self) -> str:
        return f"Diff({self.a.name} → {self.b.name}: {self.outcome})"

    __str__ = __repr__

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all.

        Raises:
            ArtifactError: if the file cannot be written.
        """
        path = Path(path)
        write_whole(path, json.dumps(self.plain(), ensure_ascii=False, allow_nan=False, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Diff:
        """Read what `save` wrote, without torch; fields that a newer version added are ignored.

        Raises:
            ArtifactError: if the file is missing or is no diff.json.
        """
        again = "make it again with `rhat diff`"
        try:
            found = json.loads(Path(path).read_text("utf-8"), parse_constant=no_constant, parse_float=finite_number)
            return cls.model_validate(found)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read ({error.strerror or error}); {again}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "top level"
            raise ArtifactError(f"{path}: not what rhat diff writes ({where}: {first['msg']}); {again}") from error
        except ValueError as error:
            raise ArtifactError(f"{path}: not valid JSON ({error}); {again}") from error


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of diff.json, made from the records."""
    return schema_of(Diff) | {"title": f"rhat diff.json, version {SCHEMA_VERSION}"}


def worst(words: Sequence[Word]) -> Word:
    """The word for the whole: worse if any is, no worse if all are."""
    if "worse" in words:
        return "worse"
    return "no worse" if words and all(word == "no worse" for word in words) else "undecided"
