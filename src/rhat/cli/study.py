"""`rhat study`: everything from a model's name to a report."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.files import MEGABYTE, check_folder
from rhat.cli.options import (
    PROMPT_PANEL,
    BorderlineOption,
    Format,
    FormatOption,
    ModelOptions,
    OverwriteOption,
    PromptOptions,
    SeedOption,
    StudyPresetName,
    TwinsOption,
    shared,
)
from rhat.cli.progress import announce, progress
from rhat.cli.reading import ReadingOptions
from rhat.cli.stopping import keeping, stoppable
from rhat.errors import StudyError
from rhat.vocabulary import AUTO, DEFAULT_PRESET, DURATIONS
from rhat.vocabulary.judges import FORMS

if TYPE_CHECKING:
    from rhat.display.tables import Table
    from rhat.executor import Executor as Worker
    from rhat.study import StudyConfig

NEEDS = 64 * MEGABYTE


class Executor(StrEnum):
    """Where the work runs."""

    serial = "serial"
    ray = "ray"


@shared
def study(
    where: ModelOptions,
    prompts: PromptOptions,
    reading: ReadingOptions,
    borderline: BorderlineOption = None,
    borderline_column: Annotated[
        str | None,
        typer.Option(
            "--borderline-column",
            help="The same, for the borderline prompts only.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None,
    twins: TwinsOption = None,
    preset: Annotated[
        StudyPresetName,
        typer.Option(
            "--preset", "-p", help=f"How much to measure. {DURATIONS}; {AUTO}: as much as ends within --budget."
        ),
    ] = DEFAULT_PRESET,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="With --preset auto, the time that the study may take on this machine, such as 30m or 1h. Default: 15m.",
            show_default=False,
        ),
    ] = None,
    destination: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("runs/default"),
    only: Annotated[
        str,
        typer.Option(
            "--only", help="Run only these experiments, separated by commas: induce,scopes,heads", show_default=False
        ),
    ] = "",
    margin: Annotated[
        float, typer.Option("--margin", min=0.001, max=0.999, help="Equivalence margin, as a share.")
    ] = 0.10,
    executor: Annotated[
        Executor, typer.Option("--executor", help="Run in this process or on a Ray cluster.")
    ] = Executor.serial,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            help="Address of the cluster, such as ray://head:10001. Default: RAY_ADDRESS, or a new cluster on this machine.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Number of Ray workers. Default: one per GPU, or one per 4 cores.",
            show_default=False,
        ),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            help=f"Also let this judge read every answer: {FORMS}. Repeatable.",
            show_default=False,
        ),
    ] = None,
    keep_answers: Annotated[
        Path | None,
        typer.Option(
            "--keep-answers",
            help="Append all answers, including those to harmful prompts, to this JSONL file; otherwise those are not kept.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            min=1,
            help="Find r̂ on this many splits of the same prompts and compare; 1: on the study's own alone.",
        ),
    ] = 1,
    overwrite: OverwriteOption = False,
    form: FormatOption = Format.table,
) -> None:
    """Find r̂, use it to induce and remove refusal, and write results.json and report.html with intervals.

    Completed work is kept in the folder: after Ctrl-C, a signal or a full disk, rerunning the command resumes where it stopped.
    If a model rarely refuses, or no direction passes the rules, that is a result, and the report explains it.
    If answers open with a think block or a channel, everything is measured after a response prefix that closes it.

    Examples:

    [bold]rhat study[/bold]

    [bold]rhat study --model ./my-model --preset quick --out runs/mine[/bold]

    [bold]rhat study --preset auto --budget 30m[/bold]

    [bold]rhat study --harmful bad.jsonl --harmless good.csv --only induce,scopes --out runs/own[/bold]
    """
    check_folder(destination, needs=NEEDS)
    from rhat.prompts.sources import with_column
    from rhat.report import draw
    from rhat.study import StudyConfig, run

    harmful, harmless = prompts.sources() or (None, None)
    if borderline is not None:
        borderline = with_column(borderline, borderline_column, "--borderline-column")
    if budget is not None and str(preset) != AUTO:
        raise StudyError(f"--budget {budget}: got --preset {preset}; expected --preset {AUTO}, which keeps to a budget")
    from rhat.study.budget import seconds_of

    config = StudyConfig(
        model=where.model,
        preset=str(preset),
        budget=seconds_of("15m" if budget is None else budget),
        out=destination,
        harmful=harmful,
        harmless=harmless,
        borderline=borderline,
        twins=twins,
        column=prompts.column,
        seed=seed,
        seeds=seeds,
        margin=margin,
        overwrite=overwrite,
        only=tuple(name for name in only.replace(" ", "").split(",") if name),
        executor=executor.value,
        refusal_phrases=None if reading.refusal_phrases is None else str(reading.refusal_phrases),
        refusal_tokens=reading.tokens(),
        judged_tokens=reading.judged_tokens,
        judges=tuple(judge or ()),
        keep_answers=keep_answers,
        **where.settings(),
    )
    with (
        keeping(destination / "stages"),
        _at_work(config, ray_address, workers) as who,
        stoppable(),
        progress() as report,
    ):
        results = run(config, progress=report, draw=draw, executor=who, told=partial(announce, report))
    if form is Format.json:
        tables.document(results)
    elif form is Format.jsonl:
        for record in [*results.get("rates", []), *results.get("comparisons", [])]:
            tables.line(record)
    else:
        show(results)
        out().print(f"report: {destination / 'report.html'}", markup=False, soft_wrap=True)


def _at_work(config: StudyConfig, address: str | None, workers: int | None) -> AbstractContextManager[Worker | None]:
    """The executor of prompts and candidates; None stands for this process."""
    if config.executor == "serial":
        return nullcontext()
    from rhat.distributed import RayExecutor
    from rhat.study.opening import model_arguments

    return RayExecutor(model_arguments(config), address, workers=workers)


def show(results: dict[str, Any]) -> None:
    """The main tables and the verdicts, on stdout."""
    from rich.markup import escape

    from rhat.display import tables as parts
    from rhat.questions import QUESTIONS
    from rhat.report.appendix import primary
    from rhat.report.judges import sentence
    from rhat.report.opening import opening
    from rhat.report.verdicts import verdicts
    from rhat.results import records

    console = out()
    run = records(results)
    chosen: list[Table] = [
        *parts.rates(run, "harmless"),
        *parts.rates(run, "harmful"),
        *parts.rates(run, "borderline"),
        *parts.rates(run, "twin"),
        *primary(run),
        *parts.comparisons(run, "induce"),
        *parts.comparisons(run, "suppress"),
    ]
    for part in chosen:
        tables.show_part(part)
    console.print(f"[bold]{results['outcome']}[/bold]: ", end="")
    for told in opening(run):
        console.print(told, markup=False, soft_wrap=True)
    if reading := sentence(run):
        console.print(reading, markup=False, soft_wrap=True)
    found = verdicts(run)
    for question in QUESTIONS:
        if verdict := found.get(question.key):
            title = question.title if question.title.endswith("?") else f"{question.title}:"
            console.print(f"[bold]{escape(title)}[/bold] ", end="", soft_wrap=True)
            console.print(verdict.sentence, markup=False, soft_wrap=True)
