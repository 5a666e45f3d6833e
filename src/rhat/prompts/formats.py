"""Files of prompts by format: the name's ending says which, unless the content plainly is another."""

import json
from pathlib import Path

from rhat.errors import PromptError
from rhat.prompts.columns import is_prompt_column
from rhat.prompts.delimited import looks_delimited, parse_delimited
from rhat.prompts.encodings import decode, reject_foreign, unpacked
from rhat.prompts.faults import Broken, one_line
from rhat.prompts.shapes import Items, lines, parse_json, parse_jsonl
from rhat.prompts.sources import PACKED, SUFFIXES, ending, format_of

Said = tuple[str, ...]  # what to tell of how a file was read


def read_file(name: str) -> tuple[Items, Said]:
    """((where, value) of each row of a file, what to say of how it was read).

    Raises:
        PromptError: if it is not there, or no file of prompts.
    """
    path = Path(name)
    if path.is_dir():
        raise PromptError(f"{name}: is a folder; give one file of prompts ({', '.join(SUFFIXES)})")
    if not path.exists():
        raise PromptError(
            f"{name}: no such file; check the path (from {Path.cwd()}), or give a data set id such as owner/name:train"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PromptError(f"{name}: cannot be read ({error.strerror}); check the file's permissions") from error
    return parse(data, name, format_of(name))


def parse(data: bytes, name: str, suffix: str) -> tuple[Items, Said]:
    """The same of bytes, whose format is that of an ending such as ".csv".

    Raises:
        PromptError: as `read_file`.
    """
    reject_foreign(data, name)
    data = unpacked(data, name)
    if not data.strip():
        raise PromptError(f"{name}: empty file; expected one prompt a line or row")
    reject_foreign(data, name)
    if data.startswith(b"PAR1"):
        return _parse_parquet(data, name), ()
    if suffix == ".parquet":
        raise PromptError(f"{name}: not a Parquet file (it does not begin as one); write it again or use .jsonl")
    if suffix not in SUFFIXES:
        shown = ending(name) if ending(name) not in PACKED or not suffix else suffix
        raise PromptError(f"{name}: unknown extension {shown or '(none)'}; expected one of {', '.join(SUFFIXES)}")
    text, said = decode(data, name)
    if suffix in (".csv", ".tsv"):
        items, more = _parse_table(text, name, suffix)
        return items, (*said, *more)
    if suffix == ".txt":
        items, more = parse_text(text, name)
        return items, (*said, *more)
    if suffix == ".json":
        return parse_json(text, name), said
    return parse_jsonl(text, name), said


def _parse_table(text: str, name: str, suffix: str) -> tuple[Items, Said]:
    found = text_format(text)
    if found in (".json", ".jsonl"):
        items = parse_json(text, name) if found == ".json" else parse_jsonl(text, name)
        return items, ("holds JSON, whatever its name says",)
    return parse_delimited(text, name, "\t" if suffix == ".tsv" and "\t" in text.split("\n", 1)[0] else None)


def parse_text(text: str, name: str) -> tuple[Items, Said]:
    """A prompt a line, unless the text plainly is JSON, JSONL or CSV."""
    found = text_format(text)
    if found == ".json":
        return parse_json(text, name), ("holds JSON",)
    if found == ".jsonl":
        return parse_jsonl(text, name), ("holds JSON lines",)
    if found == ".csv":
        items, said = parse_delimited(text, name)
        header, *rest = lines(text, name)
        if is_prompt_column(header[1]) and any(isinstance(item, Broken) for _, item in items):
            return [(where, {header[1]: line}) for where, line in rest], ("has a name in its first line",)
        return items, ("holds a table with a header", *said)
    return list(lines(text, name)), ()


def text_format(text: str) -> str:
    """ ".json", ".jsonl", ".csv" or ".txt": what a text plainly is."""
    head = text.lstrip()
    if head[:1] in ("{", "["):
        first = head.split("\n", 1)[0]
        if _holds(first, (dict,)) or (_holds(first, (list,)) and "\n" in head.strip()):
            return ".jsonl"
        if _holds(text, (list, dict)):
            return ".json"
    return ".csv" if looks_delimited(text) else ".txt"


def _holds(text: str, kinds: tuple[type, ...]) -> bool:
    try:
        return isinstance(json.loads(text), kinds)
    except (ValueError, RecursionError):
        return False


def _parse_parquet(data: bytes, name: str) -> Items:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        records = pq.read_table(pa.BufferReader(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise PromptError(f"{name}: not a Parquet file ({one_line(error)}); write it again or use .jsonl") from error
    return [(f"{name}: row {number}", record) for number, record in enumerate(records, start=1)]
