"""How values print: one line that says what they are, never their prompts' text, and tables where those help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from rhat.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 180  # characters of a line
LONGEST_STRING = 40
TEXTS = frozenset(
    {"text", "prompt", "said", "statement", "positive", "negative", "sentence", "harmful", "harmless", "topic"}
)


def one_line(value: Any) -> str:
    """`__repr__` of a dataclass or record: its name and its fields in short.

    Numbers have four digits; tensors and arrays show their shape, collections how many they hold, texts how long they are.
    """
    names = [f.name for f in fields(value) if f.repr] if is_dataclass(value) else list(value.model_fields_set)
    shown = [f"{name}={_short(value.__dict__.get(name), name)}" for name in names if not name.startswith("_")]
    line = f"{type(value).__name__}({', '.join(shown)})"
    return line if len(line) <= LONGEST else line[: LONGEST - 2] + "…)"


def _short(value: Any, name: str = "") -> str:
    if isinstance(value, bool | int) or value is None:
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        plain = len(value) <= LONGEST_STRING and name not in TEXTS and value.isprintable()
        return repr(value) if plain else f"<{len(value)} characters>"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__.lower()}{list(value.shape)}"
    if isinstance(value, Sequence | Set | Mapping):
        few = isinstance(value, tuple) and len(value) <= 4 and all(isinstance(x, int | float) for x in value)
        return f"({', '.join(map(_short, value))})" if few else f"<{len(value)}>"
    if is_dataclass(value) and not isinstance(value, type):
        text = repr(value)
        return text if len(text) <= LONGEST_STRING else f"{type(value).__name__}(…)"
    text = getattr(value, "__name__", None) or str(value)
    return text if len(text) <= LONGEST_STRING and text.isprintable() else f"<{type(value).__name__}>"


def html_table(rows: Sequence[Mapping[str, Any]], caption: str = "", most: int = 20) -> str:
    """Rows as an HTML table for notebooks: the first `most`, numbers with four digits."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(str(name))}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(row.get(name)))}</td>" for name in columns) + "</tr>"
        for row in rows[:most]
    )
    more = f"<p>… {len(rows) - most} more; .frame() has them all</p>" if len(rows) > most else ""
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else _short(value)


def frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a pandas frame, one column a field; a field that a row lacks is missing there.

    Raises:
        ArtifactError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ArtifactError(
            "frame: needs pandas, which is not installed; install it with pip install pandas"
        ) from error
    return pandas.DataFrame.from_records([dict(row) for row in rows])


class Table(tuple[dict[str, Any], ...]):
    """Rows that are dictionaries, as a tuple with a table for notebooks and a frame for pandas."""

    __slots__ = ()

    def frame(self) -> pd.DataFrame:
        """The rows as a pandas frame.

        Raises:
            ArtifactError: if pandas is not installed.
        """
        return frame(self)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows; .frame() for pandas)"

    def _repr_html_(self) -> str:
        return html_table(self)
