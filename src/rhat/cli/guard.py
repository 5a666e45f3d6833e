"""`rhat guard`: what a calibrated guard would have flagged in traffic that is there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.options import DirectionOption, Format, FormatOption, ModelOptions, shared
from rhat.cli.progress import progress

if TYPE_CHECKING:
    from rhat.guard.traffic import Traffic

RATES = {"group": "Group", "n": "Prompts", "flagged": "Flagged", "rate": "Rate", "low": "95 % low", "high": "high"}
HIGHEST = {"id": "Prompt", "projection": "Projection", "flagged": "Flagged", "text": "Text"}
BAR, TEXT = 40, 72  # characters


@shared
def guard(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="Prompts or conversations: a file, a data set id, or -.")
    ],
    direction: DirectionOption,
    where: ModelOptions,
    column: Annotated[
        str | None, typer.Option("--column", help="Column that holds the prompts, if not obvious.", show_default=False)
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Threshold file, from [bold]rhat calibrate[/bold].",
            show_default="beside the direction, as NAME.guard.json",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=0, help="Number of highest projections to show, with their texts.")
    ] = 10,
    form: FormatOption = Format.table,
) -> None:
    """Test a calibrated guard on your own traffic: which prompts it flags, and what share of each group.

    A row is a prompt, or a conversation (in the column messages), which is read up to its last user turn. The column
    category defines groups. Nothing is generated, and nothing leaves this machine. --format jsonl prints the
    projection, flag, id and text of every prompt; json adds rates with intervals and the histogram.

    Examples:

    [bold]rhat guard traffic.jsonl -d direction.safetensors[/bold]

    [bold]rhat guard traffic.jsonl -d direction.safetensors --format jsonl > flagged.jsonl[/bold]
    """
    from rhat.prompts.reading import read_source, report
    from rhat.prompts.sources import parse_source

    reading = read_source(parse_source(source, column), offline=where.offline, conversations=True)
    report(reading)
    from rhat.directions import Direction
    from rhat.guard import Calibration, beside
    from rhat.guard.traffic import read_traffic

    r = Direction.load(direction, offline=where.offline)
    made = Calibration.load(calibration or beside(direction)).check_belongs(r)
    with progress() as told:
        model = where.load(told).for_direction(r)
        told("projections", 0, len(reading.rows))
        found = read_traffic(model, r, made, reading.rows)
        told("projections", len(reading.rows), len(reading.rows))
    if form is Format.jsonl:
        for prompt in found.prompts:
            tables.line(prompt)
    elif form is Format.json:
        tables.document(found.describe())
    else:
        _print(found, top)


def _print(found: Traffic, top: int) -> None:
    rates = [{**row, **{k: f"{100 * row[k]:.1f}%" for k in ("rate", "low", "high")}} for row in found.rates]
    tables.rows(rates, Format.table, RATES, title=f"Flagged: a projection above {tables.shown(found.threshold)}")
    _histogram(found.histogram, found.threshold)
    highest = sorted(found.prompts, key=lambda prompt: -prompt["projection"])[:top]
    if highest:
        short = [{**prompt, "text": _short(prompt["text"])} for prompt in highest]
        tables.rows(short, Format.table, HIGHEST, title=f"The {len(highest)} highest projections")
    expected = found.expected
    asked = f"at most {100 * found.target_fpr:.3g}% of prompts like its harmless ones"
    few = expected["estimate"] > found.target_fpr + 1e-8
    out().print(
        f"{f'asked for {asked}, which its prompts were too few to promise' if few else f'calibrated for {asked}'}: expect "
        f"{100 * expected['estimate']:.1f}% [{100 * expected['low']:.1f}, {100 * expected['high']:.1f}] of such traffic",
        markup=False,
        soft_wrap=True,
    )
    for sentence in found.certificate:
        out().print(sentence, markup=False, soft_wrap=True)


def _histogram(bins: Sequence[dict[str, Any]], threshold: float) -> None:
    """The histogram as bars of text; the bins above the threshold are marked."""
    console, most = out(), max(row["n"] for row in bins)
    for row in bins:
        mark = "flagged" if row["low"] >= threshold else ""
        bar = "█" * round(BAR * row["n"] / most) or ("▏" if row["n"] else "")
        console.print(
            f"{tables.shown(row['low']):>8} to {tables.shown(row['high']):>8}  {row['n']:>6}  {bar} {mark}".rstrip(),
            markup=False,
        )
    console.print()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT else line[: TEXT - 1] + "…"
