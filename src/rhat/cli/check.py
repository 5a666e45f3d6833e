"""`rhat check`: prove on a model that sites are read and edited as they should be."""

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
        typer.Argument(metavar="[MODEL]", help="The model, as --model takes it.", show_default=False),
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """Check on a model that each site reads the right shape, and that an edit there moves the logits.

    For a model of a family that is new to rhat: run this first. The exit code is 1 if a check fails.

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
