"""Rows of prompts from a file, standard input or a Hugging Face data set, whatever the format."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhat.errors import PromptError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".txt")
COLUMNS = ("instruction", "prompt", "text", "messages")  # where prompts are looked for, in this order
DETAILS = ("id", "category", "topic", "split")

_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(/(?P<config>[\w.-]+))?(:(?P<split>[\w.-]+(\[[\w:%+-]*\])?))?")


@dataclass(frozen=True)
class Row:
    """One prompt as its source gives it; `where` is for messages ("harmful.csv:3"), "" means not given."""

    text: str
    where: str
    id: str = ""
    category: str = ""
    topic: str = ""
    split: str = ""


def is_hub_id(source: str | Path) -> bool:
    """Whether the source can only be a data set id: "owner/name", with no such file and no file's ending."""
    name = str(source)
    return _HUB_ID.fullmatch(name) is not None and not Path(name).exists() and Path(name).suffix.lower() not in SUFFIXES


def read_rows(
    source: str | Path, column: str | None = None, revision: str | None = None, offline: bool = False
) -> tuple[Row, ...]:
    """All rows of a source, in its order, texts stripped of white space at both ends.

    `source` is a file (see `SUFFIXES`), "-" for standard input, or a data set id such as "owner/name:train".
    `column` names where the prompts are; without it the first of `COLUMNS` that is there. `revision` and
    `offline` matter for data set ids only.

    Raises:
        PromptError: if there is nothing to read, or any row of it cannot be read.
    """
    name = str(source)
    if name == "-":
        name = "stdin"
        items = _parse_stdin(_decode(sys.stdin.buffer.read(), name), name)
    elif is_hub_id(source):
        items = _load_from_hub(name, column, revision, offline)
    else:
        items = _read_file(Path(source), name)
    if not items:
        raise PromptError(f"{name}: empty, no prompts in it; expected one prompt a line or row")
    return rows_from(items, name, column)


def parse_jsonl(text: str, name: str) -> list[tuple[str, Any]]:
    """(where, value) of each line that is not blank.

    Raises:
        PromptError: for a line that is not JSON, with its number.
    """
    items = []
    for where, line in _lines(text, name):
        try:
            items.append((where, json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise PromptError(
                f"{where}: not JSON ({one_line(error)}); expected one JSON object or string a line"
            ) from error
    return items


def one_line(error: object, width: int = 160) -> str:
    """A message on one line, cut to `width` characters."""
    words = " ".join(str(error).split())
    return words if len(words) <= width else words[: width - 1] + "…"


def _read_file(path: Path, name: str) -> list[tuple[str, Any]]:
    suffix = path.suffix.lower()
    if path.is_dir():
        raise PromptError(f"{name}: is a folder; give one file of prompts ({', '.join(SUFFIXES)})")
    if not path.exists():
        raise PromptError(
            f"{name}: no such file; check the path (from {Path.cwd()}), or give a data set id such as owner/name:train"
        )
    if suffix not in SUFFIXES:
        raise PromptError(f"{name}: unknown extension {suffix or '(none)'}; expected one of {', '.join(SUFFIXES)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PromptError(f"{name}: cannot be read ({error.strerror}); check the file's permissions") from error
    if not data.strip():
        raise PromptError(f"{name}: empty file; expected one prompt a line or row")
    if suffix == ".parquet":
        return _parse_parquet(data, name)
    text = _decode(data, name)
    if suffix == ".jsonl":
        return parse_jsonl(text, name)
    if suffix == ".json":
        return _parse_json(text, name)
    if suffix == ".csv":
        return parse_csv(text, name)
    return list(_lines(text, name))


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PromptError(
            f"{name}:{line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8"
        ) from error


def _lines(text: str, name: str) -> Iterable[tuple[str, str]]:
    # Not str.splitlines: JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{name}:{number}", line.strip()


def _parse_stdin(text: str, name: str) -> list[tuple[str, Any]]:
    """JSONL if the first line is a JSON object, else a prompt a line."""
    lines = list(_lines(text, name))
    try:
        jsonl = bool(lines) and isinstance(json.loads(lines[0][1]), dict)
    except (ValueError, RecursionError):
        jsonl = False
    return parse_jsonl(text, name) if jsonl else list(lines)


def _parse_json(text: str, name: str) -> list[tuple[str, Any]]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "; one object a line is .jsonl: rename it" if error.msg == "Extra data" else ""
        raise PromptError(
            f"{name}:{error.lineno}: not JSON ({error.msg}); expected a list of strings or objects{hint}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{name}: not JSON ({one_line(error)}); expected a list of strings or objects") from error
    if not isinstance(value, list):
        raise PromptError(f"{name}: {_kind(value)} at the top; expected a list of strings or objects")
    return [(f"{name}: item {number}", item) for number, item in enumerate(value, start=1)]


def parse_csv(text: str, name: str) -> list[tuple[str, Any]]:
    """(where, row as a mapping) of each row; the first line names the columns.

    Raises:
        PromptError: for a row with too many fields, what is not CSV, and a file without rows.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    items: list[tuple[str, Any]] = []
    try:
        for record in reader:
            where = f"{name}:{reader.line_num}"
            if None in record:
                expected = len(reader.fieldnames or ())
                raise PromptError(
                    f"{where}: {expected + len(record[None])} fields, the header has {expected}; "
                    "put texts that hold commas in double quotes"
                )
            items.append((where, record))
    except csv.Error as error:
        raise PromptError(
            f"{name}:{reader.line_num}: not CSV ({error}); check the double quotes around texts"
        ) from error
    if not items:
        raise PromptError(f"{name}: empty, a header and no rows; the first line names the columns, prompts follow it")
    return items


def _parse_parquet(data: bytes, name: str) -> list[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        records = pq.read_table(pa.BufferReader(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise PromptError(f"{name}: not a Parquet file ({one_line(error)}); write it again or use .jsonl") from error
    return [(f"{name}: row {number}", record) for number, record in enumerate(records, start=1)]


def _load_from_hub(name: str, column: str | None, revision: str | None, offline: bool) -> list[tuple[str, Any]]:
    """Rows of a data set; without a split its only one, else "train"."""
    match = _HUB_ID.fullmatch(name)
    assert match is not None
    import datasets
    import huggingface_hub.constants

    # Both libraries read the environment once, on import; these flags are what they look at afterwards.
    flags = [(datasets.config, "HF_HUB_OFFLINE"), (huggingface_hub.constants, "HF_HUB_OFFLINE")]
    before = [getattr(module, flag) for module, flag in flags]
    try:
        if offline:
            for module, flag in flags:
                setattr(module, flag, True)
        loaded = datasets.load_dataset(match["id"], match["config"], split=match["split"], revision=revision)
    except Exception as error:  # the library raises many kinds; every one means that there are no rows
        if offline:
            raise PromptError(
                f"{name}: no such file, and no data set of that name in the local cache ({one_line(error)}); "
                "run once without offline, or give a file"
            ) from error
        raise PromptError(
            f"{name}: no such file, and it cannot be loaded as a Hugging Face data set ({one_line(error)}); "
            "check the name, split and connection, or give a file"
        ) from error
    finally:
        for (module, flag), value in zip(flags, before, strict=True):
            setattr(module, flag, value)
    if isinstance(loaded, dict):
        only = next(iter(loaded)) if len(loaded) == 1 else "train"
        if only not in loaded:
            raise PromptError(
                f"{name}: several splits ({', '.join(loaded)}) and none is train; "
                f"name one, such as {name}:{next(iter(loaded))}"
            )
        loaded = loaded[only]
    chosen = _prompt_column(loaded.column_names, name, column)
    wanted = [c for c in loaded.column_names if c == chosen or c in DETAILS]
    records = loaded.select_columns(wanted).to_list()
    return [(f"{name}: row {number}", record) for number, record in enumerate(records, start=1)]


def rows_from(items: Sequence[tuple[str, Any]], name: str, column: str | None) -> tuple[Row, ...]:
    """Rows of (where, value) pairs, each value a string or an object; `name` is for messages."""
    found = list(dict.fromkeys(key for _, item in items if isinstance(item, dict) for key in item))
    objects = any(isinstance(item, dict) for _, item in items)
    chosen = _prompt_column(found, name, column) if objects else ""
    return tuple(_row(item, where, chosen) for where, item in items)


def _prompt_column(found: Sequence[str], name: str, column: str | None) -> str:
    listed = ", ".join(found) if found else "none"
    if column is not None:
        if column in found:
            return column
        raise PromptError(f"{name}: no column {column!r}; found {listed}; name one of them with --column")
    for candidate in COLUMNS:
        if candidate in found:
            return candidate
    raise PromptError(
        f"{name}: no prompts found; expected a column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}, "
        f"found {one_line(listed)}; name the right one with --column"
    )


def _row(item: Any, where: str, column: str) -> Row:
    if isinstance(item, str):
        return Row(_clean(item, where), where)
    if not isinstance(item, dict):
        raise PromptError(f"{where}: {_kind(item)}; expected a string or an object")
    if column not in item:
        raise PromptError(
            f"{where}: no {column!r} in this row; found {one_line(', '.join(item)) or 'nothing'}; fill it in "
            "or name another with --column"
        )
    details = {field: "" if field == column else _detail(item, field, where) for field in DETAILS}
    text = _clean(_user_text(item[column], where, column), where)
    return Row(text, where, details["id"], details["category"], details["topic"], details["split"])


def _user_text(value: Any, where: str, column: str) -> str:
    """The string itself, or the first user message of a list of messages; None counts as empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise PromptError(f"{where}: {column!r} holds {_kind(value)}; expected a string or a list of messages")
    for message in value:
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, list):  # parts, of which only text can be used
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            content = "\n".join(part for part in parts if isinstance(part, str))
        if isinstance(content, str):
            return content
    raise PromptError(f"{where}: {column!r} holds no user message; expected a list of {{role, content}} with role user")


def _detail(item: dict[str, Any], field: str, where: str) -> str:
    value = item.get(field)
    if value is None or value != value:  # NaN, which is how tables spell "missing"
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PromptError(f"{where}: {field!r} holds {_kind(value)}; expected a string or a number")
    return _encodable(str(value).strip(), where)


def _clean(text: str, where: str) -> str:
    if not text.strip():
        raise PromptError(f"{where}: empty text; remove the row, or name the column of the prompts with --column")
    return _encodable(text.strip(), where)


def _encodable(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{where}: half a surrogate pair (\\u{ord(text[error.start]):04x}) is no character; "
            "write the row again as UTF-8"
        ) from error
    return text


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
