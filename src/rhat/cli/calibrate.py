"""`rhat calibrate`: choose the threshold of a guard on the projection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.files import check_output
from rhat.cli.options import (
    DirectionOption,
    Format,
    FormatOption,
    ModelOptions,
    OverwriteOption,
    PromptOptions,
    SeedOption,
    shared,
)
from rhat.cli.progress import progress

if TYPE_CHECKING:
    from rhat.guard import Calibration
    from rhat.statistics import Interval

ROC_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@shared
def calibrate(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    fpr: Annotated[
        float, typer.Option("--fpr", min=0, max=0.99, help="Share of harmless prompts that may be flagged.")
    ] = 0.05,
    destination: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Where to save the threshold.", show_default="beside the direction, as NAME.guard.json"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Save the threshold even if there are too few prompts to promise its rate.")
    ] = False,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    form: FormatOption = Format.table,
) -> None:
    """Choose the threshold of a guard on the projection, and save it next to the direction.

    This uses the calibration split, which took no part in finding r̂, so pass the same prompts and seed as then. The
    threshold is the lowest value above which at most a share --fpr of new harmless prompts is expected. If there are too
    few prompts to promise that, the command fails, unless you pass --force. The rate expected on new harmless
    prompts is printed with its interval. [bold]rhat serve[/bold] loads the file from there.

    Examples:

    [bold]rhat calibrate -d direction.safetensors[/bold]

    [bold]rhat calibrate -d mine.safetensors --fpr 0.01 --harmful bad.jsonl --harmless good.jsonl[/bold]
    """
    from rhat.directions import Direction
    from rhat.guard import beside
    from rhat.guard import calibrate as run

    r = Direction.load(direction, offline=where.offline)
    target = destination or beside(direction)
    check_output(target, overwrite=overwrite)
    contrast = prompts.read(seed, where.offline)
    with progress() as report:
        model = where.load(report).for_direction(r)
        report("calibration prompts", 0, 1)
        made = run(model, r, contrast, fpr, strict=not force)
        report("calibration prompts", 1, 1)
    made.save(target)
    if form is Format.table:
        _print(made, target)
    else:
        (tables.document if form is Format.json else tables.line)({**asdict(made), "file": str(target)})


def _print(made: Calibration, target: Path) -> None:
    console = out()

    def said(name: str, interval: Interval) -> dict[str, object]:
        return {
            "what": name,
            "estimate": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "n": interval.n,
        }

    tables.rows(
        [
            said("area under the ROC curve", made.auroc),
            said("false-positive rate to expect", made.false_positive_rate),
            said("true-positive rate", made.true_positive_rate),
        ],
        Format.table,
        {"what": "On calibration prompts", "estimate": "Estimate", "low": "95 % low", "high": "high", "n": "n"},
    )
    curve = [
        max((p for p in made.roc if p["false_positive_rate"] <= rate), key=_height, default=None) for rate in ROC_RATES
    ]
    tables.rows(
        [point for point in curve if point],
        Format.table,
        {"false_positive_rate": "False positives", "true_positive_rate": "True positives", "threshold": "Threshold"},
        title="ROC curve",
    )
    console.print(
        f"threshold {tables.shown(made.threshold)}: set for at most {100 * made.target_fpr:.3g}% of new harmless prompts above it, on average",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"saved to {target}", markup=False, soft_wrap=True)


def _height(point: Mapping[str, float]) -> float:
    return point["true_positive_rate"]
