"""Prompts of one source, a chunk at a time, so that a file of any size fits into memory."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from rhat.errors import PromptError
from rhat.prompts.choices import Reading
from rhat.prompts.columns import Profile
from rhat.prompts.encodings import MAGIC, reject_foreign
from rhat.prompts.faults import Broken
from rhat.prompts.formats import parse, text_format
from rhat.prompts.layout import layout_of
from rhat.prompts.reading import read_source, read_texts, report, texts_of, warn
from rhat.prompts.rows import Reader, Row
from rhat.prompts.shapes import parse_line
from rhat.prompts.sources import Source, parse_source

CHUNK = 1024
BY_LINE = (".jsonl", ".ndjson", ".txt")
HEAD = 1 << 16  # bytes that tell whether a file can be read by line


def count_texts(source: str | Path, column: str | None = None, *, offline: bool = False) -> int | None:
    """How many prompts a file holds; None for standard input and data sets, which are read once.

    Reads a file to its end, so that an unusable row is found before anything is done with the others, and says what
    was chosen of it.

    Raises:
        PromptError: as `read_texts`.
    """
    wanted = parse_source(source, column)
    if wanted.name == "-" or wanted.is_hub_id:
        return None
    if not _by_line(wanted):
        return len(read_texts(wanted, offline=offline))
    first: list[Row] = []
    last: list[Row] = []
    n = 0
    reader = _reader(wanted)
    for rows in _read_by_line(wanted, reader, CHUNK):
        n += len(rows)
        first = first or rows[:1]
        last = rows[-1:]
    report(Reading((*first, *last), reader, n=n))
    return n


def stream_texts(
    source: str | Path, column: str | None = None, *, chunk: int = CHUNK, offline: bool = False
) -> Iterator[tuple[tuple[str, str], ...]]:
    """(id, text) of the prompts of a source as `read_texts` gives them, at most `chunk` at a time.

    JSONL and text files and standard input are read by line; other sources are read whole. Ids may repeat. Of standard
    input the first chunk tells how rows are read.

    Raises:
        PromptError: as `read_texts`, when the row at fault is reached.
    """
    wanted = parse_source(source, column)
    if wanted.name == "-":
        chunks = _read_stdin(wanted, chunk)
    elif _by_line(wanted):
        chunks = _read_by_line(wanted, _reader(wanted), chunk)
    else:
        reading = read_source(wanted, offline=offline)
        if wanted.is_hub_id:  # nothing was counted before, so nothing has been said
            report(reading)
        texts = texts_of(reading)
        for begin in range(0, len(texts), chunk):
            yield texts[begin : begin + chunk]
        return
    number = 0
    for rows in chunks:
        yield tuple((row.id or f"prompt-{number + i:04d}", row.text) for i, row in enumerate(rows, start=1))
        number += len(rows)


def _by_line(source: Source) -> bool:
    """Whether a file can be read a line at a time: what its name says is what its beginning holds, in UTF-8."""
    path = Path(source.name)
    if source.is_hub_id or path.suffix.lower() not in BY_LINE or not path.is_file():
        return False
    with _opened(source.name) as file:
        head = file.read(HEAD)
    if any(map(head.startswith, MAGIC)) or b"\x00" in head or not head.strip():
        return False
    reject_foreign(head, source.title)
    if not _is_utf8(source.name):
        return False
    lines = head.split(b"\n")
    text = b"\n".join(lines[:-1] or lines).decode("utf-8-sig", errors="replace")
    if path.suffix.lower() == ".txt":
        return not text.lstrip().startswith(("[", "{")) and "\n" in text and text_format(text) == ".txt"
    first = next((line for line in text.split("\n") if line.strip()), "")
    return isinstance(parse_line(first.strip()), dict | str)


def _is_utf8(name: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(name) as file:
        try:
            while some := file.read(HEAD):
                decoder.decode(some)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _reader(source: Source) -> Reader:
    """Goes through a file once, and knows then how to read its rows."""
    profile = Profile()
    with _opened(source.name) as file:
        for _, item in _items(file, source.title, Path(source.name).suffix.lower() != ".txt"):
            profile.add(item)
    return Reader(source, layout_of(profile, source))


def _read_by_line(source: Source, reader: Reader, chunk: int) -> Iterator[list[Row]]:
    with _opened(source.name) as file:
        items = _items(file, source.title, Path(source.name).suffix.lower() != ".txt")
        yield from _chunks(items, reader, chunk)


def _read_stdin(source: Source, chunk: int) -> Iterator[list[Row]]:
    lines = iter(sys.stdin.buffer)
    head = list(islice(lines, chunk))
    start = b"".join(head)
    text = start.decode("utf-8-sig", errors="replace")
    found = ".txt" if "\ufffd" in text or any(map(start.startswith, MAGIC)) else text_format(text)
    reject_foreign(start, source.title)
    whole = found in (".json", ".csv") or any(map(start.startswith, MAGIC)) or "\x00" in text
    first = next((line.strip() for line in text.split("\n") if line.strip()), "")
    jsonl = found == ".jsonl" and isinstance(parse_line(first), dict)
    whole = whole or ("\r" in text and "\n" not in text) or (first.startswith(("[", "{")) and not jsonl)
    if whole:
        items, _ = parse(b"".join([start, *lines]), source.title, ".txt")
        reader = Reader(source, layout_of(_profile(items), source))
        yield from _chunks(iter(items), reader, chunk)
        warn(Reading((), reader))
        return
    profile = _profile(_items(iter(head), source.title, jsonl))
    reader = Reader(source, layout_of(profile, source))
    yield from _chunks(_items(chain(head, lines), source.title, jsonl), reader, chunk)
    warn(Reading((), reader))


def _profile(items: Any) -> Profile:
    profile = Profile()
    for _, item in items:
        profile.add(item)
    return profile


def _chunks(items: Iterator[tuple[str, Any]], reader: Reader, chunk: int) -> Iterator[list[Row]]:
    read = 0
    while some := list(islice(items, chunk)):
        rows = reader.read(some)
        read += len(rows)
        if rows:
            yield rows
    if not read:
        raise PromptError(f"{reader.source.title}: empty, no prompts in it; expected one prompt a line or row")


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    try:
        file = open(name, "rb")  # noqa: SIM115
    except OSError as error:
        raise PromptError(f"{name}: cannot be read ({error.strerror}); check the file's permissions") from error
    with file:
        yield file


def _items(file: Any, name: str, jsonl: bool) -> Iterator[tuple[str, Any]]:
    """(where, value) of each line that is not blank."""
    for number, raw in enumerate(file, start=1):
        where = f"{name}:{number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            yield where, Broken(f"not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8")
            continue
        if line:
            yield where, parse_line(line) if jsonl else line
