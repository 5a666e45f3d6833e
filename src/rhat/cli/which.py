"""Options of which vector of another tool's file is meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rhat.directions import Direction
    from rhat.vectors import Given

WHICH = "Which vector of the file"


@dataclass(frozen=True)
class VectorOptions:
    """Which vector of a file is meant."""

    file_format: Annotated[
        str | None, typer.Option("--from", help="Format of the file, if it is not detected.", rich_help_panel=WHICH)
    ] = None
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            help="resid_pre.12 is the input of block 12, resid_post.12 its output; layers count from 0.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None
    key: Annotated[str | None, typer.Option("--key", help="Name of the tensor in the file.", rich_help_panel=WHICH)] = (
        None
    )
    row: Annotated[
        int | None, typer.Option("--row", help="Row of a matrix, such as a decoder.", rich_help_panel=WHICH)
    ] = None
    negate: Annotated[
        bool,
        typer.Option("--negate", help="Reverse the vector, if it points away from refusal.", rich_help_panel=WHICH),
    ] = False

    def read(self, file: str | Path, width: int | None = None) -> Given:
        """The vector as the file has it; `width` is the model's d_model, if known.

        Raises:
            DirectionError: if the file cannot be read, or what is meant is not clear.
        """
        from rhat import vectors

        return vectors.read(file, format=self.file_format, site=self.site, key=self.key, row=self.row, width=width)

    def turned(self, r: Direction) -> Direction:
        """The direction, reversed if that is asked for."""
        return -r if self.negate else r
