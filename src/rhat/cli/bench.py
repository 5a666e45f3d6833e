"""`rhat bench`: every way to find and to move refusal, side by side at equal damage."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.documents import DocumentOptions
from rhat.cli.files import check_output
from rhat.cli.options import BorderlineOptions, DirectionOption, MarginOption, ModelOptions, PromptOptions, shared
from rhat.cli.progress import announce, progress
from rhat.cli.reading import ReadingOptions
from rhat.cli.stopping import keeping
from rhat.errors import StudyError

if TYPE_CHECKING:
    from rhat.benching import BenchResults

    BenchPreset = str
else:
    BenchPreset = StrEnum("BenchPreset", {name: name for name in ("quick", "standard")})

WHAT = "What is compared"


@shared
def bench(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    reading: ReadingOptions,
    only: Annotated[
        str,
        typer.Option(
            "--only",
            help="Parts, separated by commas: finders, rules, operators, baselines, gauges.",
            rich_help_panel=WHAT,
        ),
    ] = "finders,rules,operators,baselines",
    task: Annotated[
        str, typer.Option("--task", help="Tasks, separated by commas.", rich_help_panel=WHAT)
    ] = "induce,remove,over-refusal",
    kl: Annotated[
        str | None,
        typer.Option(
            "--kl",
            help="KL of the next token at which edits are compared, nats, separated by commas [dim](default: 0.2; of standard 0.05,0.2,1)[/dim].",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    finders: Annotated[
        str | None,
        typer.Option(
            "--finders",
            help="Finders in place of all, such as lat,category:fraud,random:3.",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    search: Annotated[
        bool | None,
        typer.Option(
            "--search/--no-search",
            help="Let selection rules search for candidates [dim](default: with --preset standard)[/dim].",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    refusals_only: Annotated[
        bool,
        typer.Option(
            "--refusals-only", help="Do not measure what else edits move, which takes long.", rich_help_panel=WHAT
        ),
    ] = False,
    more: BorderlineOptions = BorderlineOptions(),
    margin: MarginOption = 0.10,
    preset: Annotated[BenchPreset, typer.Option("--preset", "-p", help="How many prompts are used.")] = "quick",
    destination: Annotated[Path, typer.Option("--out", "-o", help="Where to save the bench.")] = Path("bench.json"),
    asked: DocumentOptions = DocumentOptions(),
) -> None:
    """Compare every way to find and to move refusal, at equal damage.

    Finders, selection rules and operators each get the dose at which they change the next token equally, by KL on validation
    prompts, and are compared with the difference of means at the same KL by judged answers to test prompts, with Holm's adjustment.
    Random directions are chance; asking for refusals in words stands beside. What else moves is told with it: cross-entropy of
    neutral texts and of the model's own answers, and questions answered rightly, against no edit. With gauges in --only, what
    [bold]rhat gauges[/bold] measures is part of the file. Figures are drawn beside the file, as bench.*.svg.

    Completed work is kept beside the output, in bench.json.kept, until the bench ends.

    Examples:

    [bold]rhat bench -d direction.safetensors[/bold]

    [bold]rhat bench -d direction.safetensors --only operators --task induce --kl 0.1,0.5[/bold]

    [bold]rhat bench -d direction.safetensors --only finders,rules,operators,gauges[/bold]

    [bold]rhat bench -d direction.safetensors --preset standard --out standard.json[/bold]
    """
    from rhat.benching import BenchSettings, figures
    from rhat.benching import bench as compared
    from rhat.benching.cost import told_of_bench
    from rhat.directions import Direction
    from rhat.model.work import counting
    from rhat.scoring.pieces import Pieces

    check_output(destination, overwrite=asked.overwrite)
    settings = BenchSettings(
        _names(only),
        _names(task),
        _numbers(kl),
        _names(finders or ""),
        str(preset),
        search,
        margin,
        asked.seed,
        reading.judged_tokens,
        refusals_only,
    )
    r = Direction.load(direction, offline=where.offline)
    contrast = prompts.read(asked.seed, where.offline, more.borderline, more.twins)
    finding = reading.read_as(r)
    folder = destination.with_name(destination.name + ".kept")
    with keeping(folder), progress() as report:
        model = where.load(report).for_direction(r)
        pieces = Pieces.of(folder, model)
        with counting() as ledger:
            if (told := told_of_bench(model, contrast, r, settings, finding, pieces)) is not None:
                told.follow(ledger)
                announce(report, told)
            found = compared(model, contrast, r, settings, find_settings=finding, progress=report, pieces=pieces)
        found.save(destination)
        drawn = figures.write(found, destination)
    pieces.remove()
    asked.show(found, found.comparisons, lambda: _print(found, [destination, *drawn]))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str | None) -> tuple[float, ...]:
    """Numbers separated by commas.

    Raises:
        StudyError: if one of them is none.
    """
    try:
        return tuple(float(one) for one in (text or "").split(",") if one.strip())
    except ValueError as error:
        raise StudyError(f"--kl {text!r}: expected numbers of nats separated by commas, such as 0.05,0.2,1") from error


def _print(found: BenchResults, written: list[Path]) -> None:
    from rhat.benching.tables import tables as made

    for sentence in (found.sentence, "", *found.sentences, ""):
        out().print(sentence, markup=False, soft_wrap=True)
    for table in made(found):
        tables.show_part(table)
    out().print(f"saved to {', '.join(map(str, written))}", markup=False, soft_wrap=True)
