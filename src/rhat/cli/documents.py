"""Options of commands that measure one document around a known direction: `rhat audit`, `bench` and `gauges`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rhat.cli import tables
from rhat.cli.options import Format, FormatOption, OverwriteOption, SeedOption

if TYPE_CHECKING:
    from rhat.artifacts.document import Document
    from rhat.artifacts.record import Record


@dataclass(frozen=True)
class DocumentOptions:
    """What is drawn, whether files may be replaced, and how the document is printed."""

    seed: SeedOption = 0
    overwrite: OverwriteOption = False
    form: FormatOption = Format.table

    def show(self, found: Document, rows: Sequence[Record], table: Callable[[], None]) -> None:
        """Print the whole document as JSON, its main rows as JSON lines, or its sentences and tables by `table`."""
        if self.form is Format.json:
            tables.document(found.plain())
        elif self.form is Format.jsonl:
            for row in rows:
                tables.line(row.plain())
        else:
            table()
