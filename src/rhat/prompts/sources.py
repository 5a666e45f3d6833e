"""A source of prompts as it is written: a path or data set id, the rows and the column that are wanted of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from rhat.errors import PromptError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
PACKED = (".gz", ".bz2", ".xz")
NOT_READ = (  # endings that no data set's id has, of files that are not read
    *(".xlsx", ".xls", ".ods", ".zip", ".zst", ".tar", ".7z", ".pkl", ".pickle", ".pt", ".npy", ".npz", ".arrow"),
    *(".feather", ".db", ".sqlite", ".html", ".htm", ".md", ".pdf", ".doc", ".docx", ".yaml", ".yml", ".xml", ".log"),
)

HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)((/(?P<config>[\w.-]+))?:(?P<split>[\w.-]+(\[[\w:%+-]*\])?))?")


@dataclass(frozen=True)
class Source:
    """Where prompts come from.

    name    a path, a data set id such as "owner/name:train", or "-" for standard input
    rows    (column, values): only rows that have one of the values in that column are wanted
    column  where the prompts are; None: found by its name. "a+b" joins two, "a[0]" is the first turn of a
    """

    name: str
    rows: tuple[tuple[str, tuple[str, ...]], ...] = ()
    column: str | None = None

    @property
    def title(self) -> str:
        """What messages call it."""
        return "stdin" if self.name == "-" else self.name

    @property
    def is_hub_id(self) -> bool:
        """Whether it is a data set of the hub, and no file."""
        return is_hub_id(self.name)


def parse_source(text: str | Path | Source, column: str | None = None) -> Source:
    """Take "FILE?label=safe&label=fine#COLUMN" apart; `column` is used if the text names none.

    A file whose name holds ? or # is found first. Values are percent-decoded.

    Raises:
        PromptError: for a choice of rows that is not COLUMN=VALUE.
    """
    if isinstance(text, Source):
        return text if text.column is not None or column is None else replace(text, column=column)
    name = str(text)
    if name == "-" or Path(name).exists():
        return Source(name, (), column)
    marks = [m.start() for m in re.finditer(r"[?#]", name)]
    end = next((at for at in reversed(marks) if Path(name[:at]).is_file()), marks[0] if marks else len(name))
    path, rest = name[:end], name[end:]
    choice, hash_, own = rest.partition("#")
    wanted: dict[str, list[str]] = {}
    for part in choice.removeprefix("?").split("&") if choice else ():
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise PromptError(f"{name}: {part!r} chooses no rows; expected {path}?COLUMN=VALUE")
        wanted.setdefault(unquote(key), []).append(unquote(value))
    if hash_ and not own:
        raise PromptError(f"{name}: no column after #; expected {path}#COLUMN")
    return Source(path, tuple((key, tuple(values)) for key, values in wanted.items()), own or column)


def with_column(source: str, column: str | None, option: str) -> str:
    """The source with its column written behind it, "FILE#COLUMN", as `parse_source` takes it apart.

    Raises:
        PromptError: if it names another column already; `option` is what named this one.
    """
    if column is None:
        return source
    own = parse_source(source).column
    if own is not None and own != column:
        raise PromptError(f"{source}: names the column {own!r}, and {option} names {column!r}; leave one of them out")
    return source if own else f"{source}#{column}"


def is_hub_id(source: str | Path) -> bool:
    """Whether this can only be a data set id: "owner/name", with no such file or folder and no file's ending.

    A path is never asked of the hub: neither one that begins with a folder that is there, nor one that ends as files do.
    """
    name = str(source)
    if HUB_ID.fullmatch(name) is None or Path(name).exists() or Path(name.split("/")[0]).is_dir():
        return False
    return ending(name.split(":")[0]) not in (*SUFFIXES, *PACKED, *NOT_READ)


def ending(name: str) -> str:
    """The last ending of a file's name, in lower case (".gz"), or ""."""
    return Path(name).suffix.lower()


def format_of(name: str) -> str:
    """The ending that tells the format: that of the name without .gz and its like."""
    return ending(name) if ending(name) not in PACKED else ending(str(Path(name).with_suffix("")))


def matching(wanted: str, found: Sequence[str]) -> str | None:
    """The column of that name: exactly so, or else the only one that differs in case alone."""
    if wanted in found:
        return wanted
    alike = [name for name in found if str(name).casefold() == wanted.casefold()]
    return alike[0] if len(alike) == 1 else None
