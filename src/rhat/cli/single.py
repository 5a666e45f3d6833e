"""What `rhat heads`, `layers`, `pca` and `probe` share: one experiment of the study, with a known direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.options import Format, FormatOption, ModelOptions, PresetOption, PromptOptions, SeedOption
from rhat.cli.progress import progress
from rhat.vocabulary import DEFAULT_PRESET


@dataclass(frozen=True)
class Experiment:
    """An experiment's name in rhat.study.EXPERIMENTS, the key of its question, and the list it puts first."""

    name: str
    question: str
    records: Callable[[dict[str, Any]], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Options:
    """How much is measured, what is drawn, and how it is printed."""

    preset: PresetOption = DEFAULT_PRESET
    seed: SeedOption = 0
    form: FormatOption = Format.table


def run(experiment: Experiment, file: Path, where: ModelOptions, prompts: PromptOptions, asked: Options) -> None:
    """Run one experiment and print its tables and verdict, what results.json holds of it, or its main list.

    Raises:
        RhatError: if the model, prompts or direction cannot be used.
    """
    from rhat.directions import Direction

    direction = Direction.load(file, offline=where.offline)
    contrast = prompts.read(asked.seed, where.offline)
    from rhat.artifacts.judging import adjust
    from rhat.selection.given_direction import finding_for
    from rhat.study import EXPERIMENTS, open_lab
    from rhat.study.summary import head

    with progress() as report:
        model = where.load(report)
        finding = finding_for(model, contrast, direction, progress=report)
        results: dict[str, Any] = {}
        found: dict[str, Any] = {}
        if finding.direction is not None:
            found = head(model, finding)
            lab = open_lab(model, contrast, finding, str(asked.preset), seed=asked.seed, progress=report)
            part = EXPERIMENTS[experiment.name](lab)
            results = part.changed(comparisons=adjust(part.comparisons)).plain()
    if asked.form is Format.json:
        tables.document(results)
    elif asked.form is Format.jsonl:
        for record in experiment.records(results):
            tables.line(record)
    elif not results:
        reason = finding.sentence
        if finding.direction is not None:
            low = finding.direction.layer == 0
            reason = "layer 0 sees no instruction yet" if low else "no attention heads can be read below r̂'s layer"
        out().print(f"nothing to measure: {reason}", markup=False, soft_wrap=True)
    else:
        show(found | results, experiment.question)


def show(results: dict[str, Any], question: str) -> None:
    """A question's tables and verdict, of whatever part of the results there is."""
    from rhat.questions import QUESTIONS
    from rhat.results import records

    [asked] = [one for one in QUESTIONS if one.key == question]
    run = records(results)
    for part in asked.tables_of(run):
        tables.show_part(part)
    verdict = asked.verdict(run)
    if verdict is not None:
        out().print(" ".join([verdict.sentence, *verdict.reasons]), markup=False, soft_wrap=True)
