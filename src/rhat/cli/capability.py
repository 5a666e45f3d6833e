"""`rhat capability`: how many of 240 small questions a model answers rightly, with an intervention and without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rhat.cli import tables
from rhat.cli.options import Format, FormatOption, ModelOptions, shared
from rhat.cli.progress import progress
from rhat.cli.steer import AlphaOption, OperatorName, layers_of
from rhat.errors import InterventionError
from rhat.vocabulary.scopes import WRITTEN

COLUMNS = {"category": "Category", "n": "n", "accuracy": "Right, %", "ci_low": "95 % low", "ci_high": "high"}
PAIRED = {
    "before": "Unedited, %",
    "difference": "Difference, points",
    "difference_low": "95 % low",
    "difference_high": "high",
    "holm_p": "p (Holm)",
    "verdict": "It is",
}
COUNTS = ("category", "n", "holm_p", "verdict")  # all others are shares


@shared
def capability(
    where: ModelOptions,
    direction: Annotated[
        Path | None,
        typer.Option("--direction", "-d", help="A direction file, from [bold]rhat find[/bold], for --op."),
    ] = None,
    op: Annotated[OperatorName | None, typer.Option("--op", help="Operator to apply to the projection on r̂.")] = None,
    value: Annotated[float | None, typer.Option("--value", help="Its value, as of [bold]rhat steer[/bold].")] = None,
    alpha: AlphaOption = None,
    layer: Annotated[
        int | None, typer.Option("--layer", min=0, help="Layer to edit [dim](default: r̂'s own)[/dim].")
    ] = None,
    layers: Annotated[str | None, typer.Option("--layers", help="own, all, or layers such as 5,7-9.")] = None,
    scope: Annotated[str, typer.Option("--scope", help=f"Tokens to edit: {WRITTEN}.")] = "all",
    form: FormatOption = Format.table,
) -> None:
    """Answer 240 small questions, with an intervention and without, and show what it changed besides refusal.

    60 items each of arithmetic, cloze, format-following and general knowledge, written for this project, each with four options. An item counts
    as right if its right option is the likeliest answer, by mean log-probability a token. With -d and --op, differences from the unedited
    model are paired by item, with intervals and Holm's adjustment.

    Examples:

    [bold]rhat capability[/bold]

    [bold]rhat capability -d direction.safetensors --op ablate[/bold]
    """
    if (direction is None) != (op is None):
        raise InterventionError("got one of --direction and --op; give both, or neither for the unedited model")
    if op is None and (value, alpha, layer, layers) != (None, None, None, None):
        raise InterventionError("got a value or layers without --op; give --direction and --op as well")
    from rhat.directions import Direction
    from rhat.interventions import intervene
    from rhat.scoring.capability import capability as measured

    doing = None
    if direction is not None:
        r = Direction.load(direction, offline=where.offline)
        doing = intervene(str(op), r, value=value, alpha=alpha, layer=layer, scope=scope, where=layers_of(layers))
    with progress() as report:
        model = where.load(report)
        if doing is not None:
            r.check_fits(model)
            model.tell_thinking(r)
            doing.sites(model.layout)
        found = measured(model, doing, progress=lambda done, total: report("questions", done, total))
    rows = [row.model_dump(exclude_none=True) for row in found]
    if form is Format.table:
        rows = [{k: v if k in COUNTS else _points(v) for k, v in row.items()} for row in rows]
    tables.rows(rows, form, COLUMNS | (PAIRED if doing is not None else {}), title="Questions answered rightly")


def _points(share: Any) -> float:
    return 100 * float(share)
