"""Rows of results on stdout: as a table, as one JSON value, or as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rhat.cli.console import out
from rhat.cli.options import Format

if TYPE_CHECKING:
    from rich.table import Table

    from rhat.display.tables import Table as Part

Row = Mapping[str, Any]


def line(value: Any) -> None:
    """One value as a line of JSON, on its way at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def document(value: Any) -> None:
    """One JSON value, indented."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def rows(records: Sequence[Row], form: Format, columns: Mapping[str, str], *, title: str = "") -> None:
    """Print records; a table shows the fields that `columns` names, by their titles."""
    if form is Format.json:
        document(list(records))
    elif form is Format.jsonl:
        for record in records:
            line(record)
    else:
        cells = [[shown(record.get(name)) for name in columns] for record in records]
        numeric = [
            any(
                isinstance(record.get(name), int | float) and not isinstance(record.get(name), bool)
                for record in records
            )
            for name in columns
        ]
        show(table(list(columns.values()), cells, numeric), title)


def show(made: Table, title: str = "") -> None:
    """Print a table under its title, which is not folded to the table's width."""
    console = out()
    if title:
        console.print(title, style="bold", markup=False, soft_wrap=True)
    console.print(made)


def show_part(part: Part) -> None:
    """Print one of the report's tables."""
    heads, numeric = [head.title for head in part.heads], [head.numeric for head in part.heads]
    show(table(heads, part.rows, numeric), part.caption)
    out().print()


def table(heads: Sequence[str], cells: Iterable[Sequence[str]], numeric: Sequence[bool]) -> Table:
    """A plain Rich table; numbers on the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head, right in zip(heads, numeric, strict=True):
        made.add_column(head, justify="right" if right else "left", overflow="fold")
    for row in cells:
        made.add_row(*map(Text, row))
    return made


def shown(value: Any) -> str:
    """A cell: numbers with two decimals and a true minus sign, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:.2f}"
        return "0.00" if float(text) == 0 else text.replace("-", "−")
    if isinstance(value, int):
        return f"{value}".replace("-", "−")
    return str(value)
