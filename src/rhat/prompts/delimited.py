"""CSV and its kin: commas, semicolons, tabs or bars, with or without Excel's sep= line."""

import csv
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from rhat.errors import PromptError
from rhat.prompts.columns import is_prompt_column
from rhat.prompts.faults import Broken
from rhat.prompts.shapes import Items

DELIMITERS = (",", ";", "\t", "|")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LONGEST_HEADER = 2000  # characters of a first line that may be one
LOOKED_AT = 20  # records that tell the delimiter


def parse_delimited(text: str, name: str, delimiter: str | None = None) -> tuple[Items, tuple[str, ...]]:
    """((where, row) of each record, what to say of it); without `delimiter` the header tells it.

    A record with more fields than the header is Broken, missing fields are empty, and a record of empty fields is None.

    Raises:
        PromptError: if the quotes do not match, a column is named twice, or there are no records.
    """
    said = re.match(r"sep=(.)\r?\n", text)
    skipped = 0
    if said:
        delimiter, text, skipped = said[1], text[said.end() :], 1
    delimiter = delimiter or delimiter_of(text)
    with _fields_of_any_size():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = next((record for record in reader if any(field.strip() for field in record)), [])
            records = [(f"{name}:{reader.line_num + skipped}", record) for record in reader]
        except csv.Error as error:
            raise PromptError(
                f"{name}:{reader.line_num + skipped}: not CSV ({error}); check the double quotes around texts"
            ) from error
    header = [column.strip() for column in header]
    twice = {column for column in header if column and header.count(column) > 1}
    if any(is_prompt_column(column) for column in twice):
        raise PromptError(f"{name}: two columns are called {min(twice)!r}; give each a name of its own")
    items: Items = [(where, _row(header, record)) for where, record in records if record]
    if not items:
        raise PromptError(f"{name}: empty, a header and no rows; the first line names the columns, prompts follow it")
    return items, () if delimiter == "," else (f"has {NAMES.get(delimiter, repr(delimiter))} between its fields",)


def _row(header: list[str], record: list[str]) -> object:
    if not any(field.strip() for field in record):
        return None
    if len(record) > len(header) and not any(field.strip() for field in record[len(header) :]):
        record = record[: len(header)]  # Excel's empty columns at the end
    if len(record) > len(header):
        return Broken(
            f"{len(record)} fields, the header has {len(header)}; put texts that hold commas in double quotes"
        )
    return dict(zip(header, [*record, *[""] * (len(header) - len(record))], strict=True))


def delimiter_of(text: str) -> str:
    """The delimiter under which the header names a column of prompts, or else splits all records alike."""
    best = ","
    for delimiter in DELIMITERS:
        records = _first_records(text, delimiter)
        if not records:
            continue
        if any(is_prompt_column(field.strip()) for field in records[0]):
            return delimiter
        alike = len(records) > 1 and len({len(record) for record in records}) == 1 and len(records[0]) > 1
        if alike and best == "," and len((_first_records(text, ",") or [[""]])[0]) == 1:
            best = delimiter
    return best


def looks_delimited(text: str) -> bool:
    """Whether a text without a telling name is CSV: its first line is a header with a column of prompts."""
    head = text.lstrip().split("\n", 1)[0].strip()
    if len(head) > LONGEST_HEADER or "\r" in head:
        return False
    if re.fullmatch(r"sep=.", head):
        return True
    for delimiter in DELIMITERS:
        names = [field.strip() for field in next(csv.reader([head], delimiter=delimiter), [])]
        header = all(re.fullmatch(r"[\w .-]{0,40}", field) and field.count(" ") < 3 for field in names)
        if header and any(is_prompt_column(field) for field in names) and len(text.strip().split("\n")) > 1:
            return True
    return False


def _first_records(text: str, delimiter: str) -> list[list[str]]:
    with _fields_of_any_size():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            return [record for record in islice(reader, LOOKED_AT) if any(field.strip() for field in record)]
        except csv.Error:
            return []


@contextmanager
def _fields_of_any_size() -> Iterator[None]:
    """The csv module's limit on a field is one for the whole process: put it back afterwards."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
