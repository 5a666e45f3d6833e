"""Prompts of one source, a chunk at a time, so that a file of any size fits into memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from rhat.errors import PromptError
from rhat.prompts.reading import read_texts
from rhat.prompts.rows import is_hub_id, one_line, rows_from

CHUNK = 1024
BY_LINE = (".jsonl", ".txt")


def count_texts(source: str | Path, column: str | None = None, *, offline: bool = False) -> int | None:
    """How many prompts a file holds; None for standard input and data sets, which are read once.

    Reads a file to its end, so that an unusable row is found before anything is done with the others.

    Raises:
        PromptError: as `read_texts`.
    """
    if str(source) == "-" or is_hub_id(source):
        return None
    return sum(len(chunk) for chunk in stream_texts(source, column, offline=offline))


def stream_texts(
    source: str | Path, column: str | None = None, *, chunk: int = CHUNK, offline: bool = False
) -> Iterator[tuple[tuple[str, str], ...]]:
    """(id, text) of the prompts of a source as `read_texts` gives them, at most `chunk` at a time.

    JSONL and text files and standard input are read by line; other sources are read whole. Ids may repeat.

    Raises:
        PromptError: as `read_texts`, when the row at fault is reached.
    """
    name = str(source)
    if name != "-" and (is_hub_id(source) or not _by_line(Path(name))):
        texts = read_texts(source, column, offline=offline)
        for begin in range(0, len(texts), chunk):
            yield texts[begin : begin + chunk]
        return
    title = "stdin" if name == "-" else name
    number = 0
    with _opened(name) as file:
        items = _items(file, title, None if name == "-" else Path(name).suffix.lower() == ".jsonl")
        while some := list(islice(items, chunk)):
            rows = rows_from(some, title, column)
            yield tuple((row.id or f"prompt-{number + i:04d}", row.text) for i, row in enumerate(rows, start=1))
            number += len(rows)
    if not number:
        raise PromptError(f"{title}: empty, no prompts in it; expected one prompt a line or row")


def _by_line(path: Path) -> bool:
    return path.suffix.lower() in BY_LINE and path.is_file()


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(name, "rb")  # noqa: SIM115
    except OSError as error:
        raise PromptError(f"{name}: cannot be read ({error.strerror}); check the file's permissions") from error
    with file:
        yield file


def _items(file: IO[bytes], name: str, jsonl: bool | None) -> Iterator[tuple[str, Any]]:
    """(where, value) of each line that is not blank; without `jsonl` the first one tells which kind."""
    for number, raw in enumerate(file, start=1):
        where = f"{name}:{number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise PromptError(f"{where}: not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8") from error
        if not line:
            continue
        if jsonl is None:
            jsonl = _is_object(line)
        yield where, _json(line, where) if jsonl else line


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PromptError(
            f"{where}: not JSON ({one_line(error)}); expected one JSON object or string a line"
        ) from error
