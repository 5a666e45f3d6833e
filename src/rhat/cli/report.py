"""`rhat report`: a study's report and figures, drawn again from its results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rhat.cli.console import out


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.", show_default=False)],
) -> None:
    """Redraw a study's report.html and figures from its results.json. This needs neither the model nor torch.

    Example:

    [bold]rhat report runs/default[/bold]
    """
    from rhat.report import draw

    files = draw(folder)
    out().print(f"{files[0]}, and {len(files) - 1} figures in {folder / 'figures'}", markup=False, soft_wrap=True)
