"""`rhat compare`: several studies side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rhat.cli import tables
from rhat.cli.files import check_output
from rhat.cli.options import Format, FormatOption, OverwriteOption


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR DIR...", help="Folders of studies.", show_default=False)
    ],
    destination: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write a page with figures.", show_default=False)
    ] = None,
    overwrite: OverwriteOption = False,
    form: FormatOption = Format.table,
) -> None:
    """Compare several studies side by side: the main rates of each, with their intervals.

    Examples:

    [bold]rhat compare runs/small runs/large --out compare.html[/bold]

    [bold]rhat compare runs/* --format json[/bold]
    """
    if destination is not None:
        check_output(destination, overwrite=overwrite)
    from rhat.report import compare

    runs = compare(folders, destination)
    if form is not Format.table:
        records = [
            {
                "run": run.name,
                "folder": str(run.folder),
                "model": run.model,
                "outcome": run.outcome,
                "layer": run.layer,
                "position": run.position,
                "rates": [row.plain() for row in run.rates.values()],
                "auroc": run.auroc.plain() if run.auroc else None,
            }
            for run in runs
        ]
        tables.rows(records, form, {})
        return
    cells = [run.cells() for run in runs]
    fullest = max(cells, key=len)
    titles = [title for title in dict.fromkeys([*fullest, *(t for c in cells for t in c)]) if title != "Run"]
    columns = {"title": "", **{str(index): run.name for index, run in enumerate(runs)}}
    lines = [{"title": title, **{str(i): c.get(title, "") for i, c in enumerate(cells)}} for title in titles]
    tables.rows(lines, form, columns, title="Refusals, with 95 % intervals")
