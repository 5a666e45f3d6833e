"""`rhat gauges`: harmfulness and refusal as two directions, and whether they come apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli import single, tables
from rhat.cli.console import out
from rhat.cli.files import check_output
from rhat.cli.options import (
    PROMPT_PANEL,
    DirectionOption,
    Format,
    FormatOption,
    ModelOptions,
    OverwriteOption,
    PromptOptions,
    SeedOption,
    shared,
)
from rhat.cli.progress import announce, progress
from rhat.cli.reading import ReadingOptions
from rhat.cli.stopping import keeping
from rhat.errors import ArtifactError
from rhat.vocabulary import DEFAULT_PRESET

if TYPE_CHECKING:
    from rhat.gauges import Gauges

CHANGES = {
    "set": "Set",
    "prompts": "Prompts",
    "judged": "Judged harmful (nats)",
    "refused": "Refused",
}
CLOUDS = {"prompts": "Prompts", "n": "Count", "harmfulness": "Harmfulness (α)", "refusal": "Refusal (α)"}


@shared
def gauges(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    reading: ReadingOptions,
    borderline: Annotated[
        str | None,
        typer.Option(
            "--borderline", help="Harmless prompts that contain alarming words.", rich_help_panel=PROMPT_PANEL
        ),
    ] = None,
    twins: Annotated[
        str | None,
        typer.Option(
            "--twins", help="Unsafe prompts, worded as the borderline ones are.", rich_help_panel=PROMPT_PANEL
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option("--layer", help="Layer of the harmfulness direction; that of r̂ unless given.", show_default=False),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", help="Largest difference of refusal rates that does not matter.")
    ] = 0.10,
    preset: single.PresetOption = DEFAULT_PRESET,
    destination: Annotated[
        Path, typer.Option("--out", "-o", help="Where to save the result; the figure goes beside it, as .svg.")
    ] = Path("gauges.json"),
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    form: FormatOption = Format.table,
) -> None:
    """Measure whether a model's harmfulness and refusal are two directions.

    Harmfulness is read at the instruction's last token, refusal at the template's. Each is set to the other side's mean;
    the log-odds of "is this request harmful?" and judged refusals say which of the two moved, against nothing set, the
    other direction and random directions. Every test prompt is placed in the plane of both, and a guard on both is
    compared with one on r̂ alone.

    Completed work is kept beside the output, in gauges.json.kept, until the command ends.

    Examples:

    [bold]rhat gauges -d direction.safetensors[/bold]

    [bold]rhat gauges -d direction.safetensors --preset quick --out quick.json[/bold]
    """
    drawing = _beside(destination)
    for path in (destination, drawing):
        check_output(path, overwrite=overwrite)
    from rhat.directions import Direction
    from rhat.gauges import GaugeSettings, told_of_gauges
    from rhat.gauges import gauges as gauged
    from rhat.model.work import counting
    from rhat.scoring.pieces import Pieces

    settings = GaugeSettings(layer, margin, str(preset), seed, reading.judged_tokens)
    r = Direction.load(direction, offline=where.offline)
    contrast = prompts.read(seed, where.offline, borderline, twins)
    finding = reading.read_as(r)
    folder = destination.with_name(destination.name + ".kept")
    with keeping(folder), progress() as report:
        model = where.load(report).for_direction(r)
        pieces = Pieces.of(folder, model)
        with counting() as ledger:
            if (told := told_of_gauges(model, contrast, r, settings, finding, pieces)) is not None:
                told.follow(ledger)
                announce(report, told)
            found = gauged(model, contrast, r, settings, find_settings=finding, progress=report, pieces=pieces)
        _write(found, destination, drawing)
    pieces.remove()
    if form is Format.json:
        tables.document(found.plain())
    elif form is Format.jsonl:
        for row in found.shifts:
            tables.line(row.plain())
    else:
        _print(found, destination, drawing)


def _beside(destination: Path) -> Path:
    """Where the figure goes.

    Raises:
        ArtifactError: if the result itself would be there.
    """
    if destination.suffix == ".svg":
        raise ArtifactError(f"{destination}: expected a .json file, got the name of the figure; give --out gauges.json")
    return destination.with_suffix(".svg")


def _write(found: Gauges, destination: Path, drawing: Path) -> None:
    from rhat.artifacts.files import replace_text
    from rhat.gauges.figure import plane

    found.save(destination)
    replace_text(drawing, plane(found))


def _print(found: Gauges, written: Path, drawing: Path) -> None:
    from rhat.display.wording import interval, number
    from rhat.gauges.verdict import size

    def say(text: str) -> None:
        out().print(text, markup=False, soft_wrap=True)

    say(found.sentence)
    out().print()
    for sentence in found.sentences:
        say(sentence)
    out().print()
    rows = []
    for prompts in ("harmful", "harmless"):
        for gauge in ("harmfulness", "refusal"):
            moved = [found.shift(measure, gauge, "baseline", prompts) for measure in ("judged_harmful", "refused")]
            if all(moved):
                said = ["" if row is None else size(row) for row in moved]
                rows.append({"set": gauge, "prompts": prompts, "judged": said[0], "refused": said[1]})
    tables.rows(rows, Format.table, CHANGES, title="Changes towards the other side, against nothing set")
    clouds = [
        {
            "prompts": f"{cloud.prompts}, {'refused' if cloud.refused else 'not refused'}",
            "n": cloud.n,
            "harmfulness": f"{number(cloud.harmfulness)} {interval(cloud.harmfulness_low, cloud.harmfulness_high)}",
            "refusal": f"{number(cloud.refusal)} {interval(cloud.refusal_low, cloud.refusal_high)}",
        }
        for cloud in found.clouds
    ]
    tables.rows(clouds, Format.table, CLOUDS, title="Where test prompts lie (0: harmless mean, 1: harmful mean)")
    say(f"saved to {written} and {drawing}")
