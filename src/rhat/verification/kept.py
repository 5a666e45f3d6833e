"""Kept: what a study kept of each prompt and condition, read back from per_prompt.parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rhat.errors import ArtifactError
from rhat.reprs import one_line

FILE_NAME = "per_prompt.parquet"


@dataclass(frozen=True, eq=False)
class Answers:
    """One condition on one set of prompts, prompt by prompt, in the order of measuring; as `rhat.artifacts.measured.Answered`.

    Scores in nats, NaN where there are none; kl of the first prompts only; projections in residual-stream units, NaN where
    unknown. classes by judge, and shorter by the number of tokens read, hold None where a judge could not tell.
    """

    condition: str
    label: str
    prompt_ids: tuple[str, ...]
    topics: tuple[str, ...]
    verdicts: tuple[str, ...]
    scores: np.ndarray
    kl: np.ndarray | None
    projections: np.ndarray
    classes: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    shorter: Mapping[int, tuple[str | None, ...]] = field(default_factory=dict)

    __repr__ = one_line

    @property
    def refused(self) -> np.ndarray:
        """True where the answer refuses."""
        return np.array([verdict == "refused" for verdict in self.verdicts], dtype=bool)

    def first(self, n: int) -> Answers:
        """The same of the first n prompts."""
        return replace(
            self,
            prompt_ids=self.prompt_ids[:n],
            topics=self.topics[:n],
            verdicts=self.verdicts[:n],
            scores=self.scores[:n],
            kl=None if self.kl is None else self.kl[:n],
            projections=self.projections[:n],
            classes={judge: found[:n] for judge, found in self.classes.items()},
            shorter={length: found[:n] for length, found in self.shorter.items()},
        )

    def dealt(self, i: int, among: int) -> Answers:
        """Every `among`-th prompt from the i-th: those that the i-th of so many controls was given."""
        return replace(
            self,
            prompt_ids=self.prompt_ids[i::among],
            topics=self.topics[i::among],
            verdicts=self.verdicts[i::among],
            scores=self.scores[i::among],
            kl=None,
            projections=self.projections[i::among],
            classes={},
            shorter={},
        )


@dataclass(frozen=True, eq=False)
class Kept:
    """All of a study's answers, by condition and label, and the category of each prompt, by id."""

    answers: Mapping[tuple[str, str], Answers]
    categories: Mapping[str, str | None] = field(default_factory=dict)

    __repr__ = one_line

    def of(self, condition: str, label: str, n: int | None = None) -> Answers | None:
        """The first n answers under a condition; None where the study kept fewer, or none."""
        found = self.answers.get((condition, label))
        if found is None or (n is not None and len(found.prompt_ids) < n):
            return None
        return found if n is None else found.first(n)

    def judged(self, condition: str, label: str, n: int | None = None) -> Answers | None:
        """The same where the answers have verdicts."""
        found = self.of(condition, label, n)
        return found if found is not None and found.verdicts else None

    def __iter__(self) -> Iterator[Answers]:
        return iter(self.answers.values())


def read(folder: Path) -> Kept:
    """A study's answers from its per_prompt.parquet.

    Raises:
        ArtifactError: if it is missing, damaged, or lacks a column.
    """
    import pyarrow
    import pyarrow.parquet

    path = folder / FILE_NAME
    try:
        table: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; give the folder of a finished `rhat study`") from error
    except (OSError, pyarrow.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({str(error).splitlines()[0]}); run the study again") from error
    needed = ("prompt_id", "label", "topic", "condition", "verdict", "score", "kl", "projection")
    missing = [name for name in needed if name not in table]
    if missing:
        raise ArtifactError(f"{path}: expected the column {missing[0]}, got {', '.join(table)}; run the study again")
    rows: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(zip(table["condition"], table["label"], strict=True)):
        rows.setdefault(key, []).append(i)
    answers = {key: _answers(*key, table, some) for key, some in rows.items()}
    return Kept(answers, dict(zip(table["prompt_id"], table.get("category", ()), strict=False)))


def _answers(condition: str, label: str, table: Mapping[str, list[Any]], rows: list[int]) -> Answers:
    def column(name: str) -> list[Any]:
        return [table[name][i] for i in rows]

    def numbers(name: str) -> np.ndarray:
        return np.array([np.nan if value is None else value for value in column(name)], dtype=float)

    kl, verdicts, ids = numbers("kl"), column("verdict"), column("prompt_id")
    known = int(np.isfinite(kl).sum())
    return Answers(
        condition,
        label,
        tuple(ids),
        tuple(topic or own for topic, own in zip(column("topic"), ids, strict=True)),
        tuple(verdicts) if all(verdict is not None for verdict in verdicts) else (),
        numbers("score"),
        kl[:known] if known else None,
        numbers("projection"),
        {name.removeprefix("class:"): tuple(column(name)) for name in table if name.startswith("class:")},
        {
            int(name.removeprefix("after:")): tuple(found)
            for name in table
            if name.startswith("after:") and any(found := column(name))
        },
    )
