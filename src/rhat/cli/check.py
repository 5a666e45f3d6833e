"""`rhat check`: check that rhat hooks a model correctly."""

from __future__ import annotations

from typing import Annotated

import typer

from rhat.cli import tables
from rhat.cli.options import Format, FormatOption, ModelOptions, shared
from rhat.cli.progress import progress
from rhat.errors import ModelError


@shared
def check(
    where: ModelOptions,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="The model, in any form that --model accepts.", show_default=False),
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """Check that rhat hooks a model correctly: each site has the right shape, and an edit there moves the logits.

    Run this first on a model family that is new to rhat. The exit code is 1 if a check fails.

    Examples:

    [bold]rhat check qwen2.5-coder-0.5b[/bold]

    [bold]rhat check ./my-model --format jsonl[/bold]
    """
    import importlib
    from dataclasses import replace

    try:
        checking = importlib.import_module("rhat.model.check")
    except ModuleNotFoundError as error:
        raise ModelError("check: this installation of rhat has no rhat.model.check; install rhat again") from error
    with progress() as report:
        model = (where if name is None else replace(where, model=name)).load(report)
        result = checking.check(model)
    records = result.rows()
    columns = {key: key.replace("_", " ").capitalize() for key in dict.fromkeys(key for row in records for key in row)}
    tables.rows(records, form, columns, title=f"{model.name}: {'sound' if result.ok else 'NOT SOUND'}")
    if not result.ok:
        raise typer.Exit(1)
