"""What a question of the study is: its words, its rows, what is measured, and how the answer is told and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rhat.artifacts.rows import Part
from rhat.artifacts.run import Results
from rhat.display.tables import Table, comparisons

Figure = Any  # plotly.graph_objects.Figure, which is imported only when something is drawn


@dataclass(frozen=True)
class Verdict:
    """The answer to one question.

    `word` is one of the four judgements, "mixed" where parts of the question differ, or "measured" where
    there is nothing to decide. `sentence` is the answer with its numbers; `reasons` are further sentences.
    """

    word: str
    sentence: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A figure of the report: `name` is its file's stem, `alt` its text alternative."""

    name: str
    title: str
    alt: str
    draw: Callable[[Results], Figure | None]


@dataclass(frozen=True)
class Experiment:
    """Something that a question measures: the function of this name in its measure.py, run by these presets."""

    name: str
    presets: tuple[str, ...] = ("standard", "full")


EVERY = ("quick", "standard", "full")  # presets, for what is measured in all of them


@dataclass(frozen=True)
class Question:
    """One question, all of it; what is measured is named, so that nothing here needs torch.

    key         what the study, its rows, the report and the command line call it; the name of its folder
    rows        its own fields of results.json, None where the shared rows do
    tables      those of its section; None: its comparisons
    labels      short answers by the verdict's word, where the word itself is none
    headline    whether its answer stands at the top of the report
    """

    key: str
    title: str
    asked: str
    how: str
    experiments: tuple[Experiment, ...] = ()
    rows: type[Part] | None = None
    verdict: Callable[[Results], Verdict | None] = lambda _results: None
    tables: Callable[[Results], list[Table]] | None = None
    figures: tuple[Drawing, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    headline: bool = False

    def tables_of(self, results: Results) -> list[Table]:
        """The tables of its section."""
        return comparisons(results, self.key) if self.tables is None else self.tables(results)

    def label(self, verdict: Verdict) -> str:
        """The verdict in two or three words."""
        return self.labels.get(verdict.word, verdict.word)
