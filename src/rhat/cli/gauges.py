"""`rhat gauges`: harmfulness and refusal as two directions, and whether they come apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.documents import DocumentOptions
from rhat.cli.files import check_output
from rhat.cli.options import (
    BorderlineOptions,
    DirectionOption,
    Format,
    ModelOptions,
    PresetOption,
    PromptOptions,
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
    more: BorderlineOptions,
    layer: Annotated[
        int | None,
        typer.Option("--layer", help="Layer of the harmfulness direction; that of r̂ unless given.", show_default=False),
    ] = None,
    preset: PresetOption = DEFAULT_PRESET,
    destination: Annotated[
        Path, typer.Option("--out", "-o", help="Where to save the result; the figure goes beside it, as .svg.")
    ] = Path("gauges.json"),
    asked: DocumentOptions = DocumentOptions(),
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
        check_output(path, overwrite=asked.overwrite)
    from rhat.directions import Direction
    from rhat.gauges import GaugeSettings, told_of_gauges
    from rhat.gauges import gauges as gauged
    from rhat.model.work import counting
    from rhat.scoring.pieces import Pieces

    settings = GaugeSettings(layer, str(preset), asked.seed, reading.judged_tokens)
    r = Direction.load(direction, offline=where.offline)
    contrast = prompts.read(asked.seed, where.offline, more.borderline, more.twins)
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
    asked.show(found, found.shifts, lambda: _print(found, destination, drawing))


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
