"""`rhat prompts`: show how files and data sets of prompts are read, before anything runs."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.options import Format, FormatOption
from rhat.errors import PromptError

if TYPE_CHECKING:
    from rhat.prompts.choices import Reading

CATEGORIES = 12  # the largest, that the table names


class As(StrEnum):
    """rhat.prompts.LABELS; a test holds the two together."""

    harmful = "harmful"
    harmless = "harmless"
    borderline = "borderline"
    twin = "twin"


def prompts(
    sources: Annotated[list[str], typer.Argument(metavar="FILE…", help="Files or data set ids.", show_default=False)],
    label: Annotated[
        As | None,
        typer.Option("--as", help="Show the rows that would be used as prompts of this label.", show_default=False),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--column", help="Column that holds the prompts, if not obvious.", show_default=False),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use only files on this machine.")] = False,
    form: FormatOption = Format.table,
) -> None:
    """Show how prompt files are read: which rows, from which column, and what is left out and why.

    FILE?label=safe selects the rows with that value; FILE#COLUMN takes the prompts from that column. Only the first words
    of prompts that may be harmful are shown.

    Examples:

    [bold]rhat prompts xstest.csv[/bold]

    [bold]rhat prompts --as borderline xstest.csv 'other.jsonl?split=test#question'[/bold]
    """
    from rhat.prompts.reading import read_source
    from rhat.prompts.sources import parse_source

    records, faults = [], []
    for source in sources:
        try:
            reading = read_source(parse_source(source, column), None if label is None else label.value, offline=offline)
            records.append((source, reading))
        except PromptError as error:
            faults.append(str(error))
    said = [record(source, reading) for source, reading in records]
    said = [{**one, "also_in": also_in(records, index)} for index, one in enumerate(said)]
    if form is Format.json:
        tables.document(said)
    for one in said:
        if form is Format.jsonl:
            tables.line(one)
        elif form is Format.table:
            show(one)
    if faults:
        raise PromptError("; ".join(faults))


def record(source: str, reading: Reading) -> dict[str, Any]:
    """What is read from a source, as a JSON value."""
    from rhat.prompts.duplicates import folded

    rows, layout = reading.rows, reading.reader.layout
    known = layout.known
    lengths = [len(row.text.split()) for row in rows]
    own = known.label_by(source) if known else None
    return {
        "source": source,
        "set": known.title if known else None,
        "prompts": len(rows),
        "labels": dict(layout.labels) or ({own: len(rows)} if own else {}),
        "column": reading.column or None,
        "first": reading.start(rows[0]),
        "last": reading.start(rows[-1]),
        "duplicates": len(rows) - len({folded(row.text) for row in rows}),
        "words": {"median": median(lengths), "longest": max(lengths)},
        "categories": dict(Counter(row.category for row in rows if row.category).most_common()),
        "left_out": dict(reading.reader.left_out),
        "notes": reading.notes(),
        "warnings": [warning.removeprefix(f"{reading.reader.source.title}: ") for warning in reading.warnings()],
    }


def also_in(readings: list[tuple[str, Reading]], index: int) -> dict[str, int]:
    """Other source → how many prompts of this source it also contains."""
    from rhat.prompts.duplicates import folded

    texts = [{folded(row.text) for row in reading.rows} for _, reading in readings]
    shared = {
        name: len(texts[index] & other)
        for i, ((name, _), other) in enumerate(zip(readings, texts, strict=True))
        if i != index
    }
    return {name: n for name, n in shared.items() if n}


def show(one: dict[str, Any]) -> None:
    """A source's record as readable lines."""
    console = out()

    def line(text: str, style: str = "") -> None:
        console.print(text, markup=False, soft_wrap=True, style=style)

    line(one["source"] + (f" ({one['set']})" if one["set"] else ""), style="bold")
    column = f" from column {one['column']}" if one["column"] else ""
    line(f"  {one['prompts']} prompts{column}; labels in it: {counted(one['labels']) or 'none'}")
    line(f"  first: {one['first']}")
    line(f"  last:  {one['last']}")
    words = one["words"]
    line(f"  {words['median']:g} words at the median, {words['longest']} at most; {one['duplicates']} duplicates")
    if one["categories"]:
        line(f"  categories: {counted(dict(list(one['categories'].items())[:CATEGORIES]), len(one['categories']))}")
    for note in [*one["notes"], *one["warnings"]]:
        line(f"  {note}")
    for other, n in one["also_in"].items():
        line(f"  {n} prompts are also in {other}")


def counted(counts: dict[str, int], of: int = 0) -> str:
    """ "safe 250, unsafe 200", and how many more there are."""
    more = f", and {of - len(counts)} more" if of > len(counts) else ""
    return ", ".join(f"{name} {n}" for name, n in counts.items()) + more
