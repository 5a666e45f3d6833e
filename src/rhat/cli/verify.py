"""`rhat verify`: a study's numbers computed again from what it kept of each prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rhat.cli.console import out
from rhat.errors import VerificationError


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.", show_default=False)],
) -> None:
    """Recompute every number and verdict of a study from per_prompt.parquet. This needs neither the model nor torch.

    If a value differs, one line reports the first that does, and the exit code is 1. Values that cannot be recomputed from
    per_prompt.parquet are listed as not checked.

    Example:

    [bold]rhat verify runs/default[/bold]
    """
    from rhat.verification import verify

    try:
        found = verify(folder)
    except VerificationError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(1) from error
    for line in found.lines():
        out().print(line, markup=False, soft_wrap=True)
