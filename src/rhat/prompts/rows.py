"""Rows of prompts: each with its text and what else its source says of it, and what was chosen and left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rhat.errors import PromptError
from rhat.prompts.cells import Request, read_cell
from rhat.prompts.columns import GOES_BEFORE, TRANSCRIPT, Profile, blank, plain
from rhat.prompts.faults import Broken, Fault, Faults
from rhat.prompts.layout import Layout, layout_of
from rhat.prompts.shapes import Items, kind
from rhat.prompts.sources import Source

if TYPE_CHECKING:
    from rhat.prompts.contrast import Label


@dataclass(frozen=True)
class Row:
    """One prompt as its source gives it; `where` is for messages ("harmful.csv:3"), "" means not given.

    `messages` are (role, content) of the whole conversation that `text` was taken from, if it was one.
    """

    text: str
    where: str
    id: str = ""
    category: str = ""
    topic: str = ""
    split: str = ""
    messages: tuple[tuple[str, str], ...] = ()


@dataclass
class Reader:
    """Reads rows by a layout and counts what it leaves out.

    given        rows that were looked at
    joined       rows whose prompt is of several columns
    answered     rows with an answer beside the prompt, which is not read
    later        rows with later user turns, and `before`: with messages before the first, which are not read
    transcripts  prompts that look as if they hold an answer, or a chat template
    left_out     reason → rows that were left out for it
    unread       column → rows of which it is not read, though it may belong to the request
    """

    source: Source
    layout: Layout
    given: int = 0
    joined: int = 0
    answered: int = 0
    later: int = 0
    before: int = 0
    transcripts: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)

    def read(self, items: Iterable[tuple[str, Any]]) -> list[Row]:
        """The rows that are wanted.

        Raises:
            PromptError: with every fault of these rows.
        """
        faults = Faults(self.source.title)
        rows, before = [], self.given
        for where, item in items:
            self.given += 1
            if _nothing(item):
                self.left_out["empty"] += 1
                continue
            try:
                if isinstance(item, dict) and (why := self._unwanted(item)):
                    self.left_out[why] += 1
                else:
                    rows.append(self._row(item, where))
            except Fault as fault:
                faults.add(where, str(fault))
        faults.raise_any()
        self._check_belongings(self.given - before)
        return rows

    def _unwanted(self, item: Mapping[str, Any]) -> str | None:
        return next((why for unwanted in self.layout.unwanted if (why := unwanted(item))), None)

    def _row(self, item: Any, where: str) -> Row:
        if isinstance(item, Broken):
            raise Fault(item.reason)
        if isinstance(item, str):
            return Row(_clean(item), where)
        if isinstance(item, list):
            return self._from(read_cell(item, "messages"), {}, where)
        if not isinstance(item, dict):
            raise Fault(f"{kind(item)}; expected a string or an object")
        layout = self.layout
        if layout.main not in item:
            found = ", ".join(map(str, item))[:160] or "nothing"
            raise Fault(f"no {layout.main!r} in this row; found {found}; fill it in or name another with --column")
        cells = [read_cell(item.get(column), column, layout.first) for column in layout.columns]
        filled = [cell for cell in cells if cell.text.strip()]
        main = cells[layout.columns.index(layout.main)]
        if not main.text.strip():
            raise Fault("empty text; remove the row, or name the column of the prompts with --column")
        self.joined += len(filled) > 1
        for column in layout.belongs:
            self.unread[column] += not blank(item.get(column))
        if len(filled) > 1:
            main = replace(main, text=layout.joint.join(cell.text.strip() for cell in filled))
        details = {name: self._detail(item, parts) for name, parts in layout.details.items()}
        return self._from(main, details, where)

    def _from(self, cell: Request, details: Mapping[str, str], where: str) -> Row:
        self.answered += cell.answered
        self.later += cell.later > 0
        self.before += cell.before > 0
        self.transcripts += TRANSCRIPT.search(cell.text) is not None
        return Row(_clean(cell.text), where, messages=cell.messages, **details)

    def _detail(self, item: Mapping[str, Any], parts: Sequence[str]) -> str:
        values = [plain(item.get(part)) for part in parts]
        for beginning in self.layout.cut:
            values = [value.removeprefix(beginning) for value in values]
        return _encodable(" ".join(value for value in values if value))

    def _check_belongings(self, n: int) -> None:
        """A request without its object is another request: raise, unless the user named the column."""
        unread = {column: rows for column, rows in self.unread.items() if rows}
        if self.layout.explicit or not unread:
            return
        own, name = self.layout.column, self.source.name
        told = " and ".join(f"{rows} of {n} rows have a {column!r}" for column, rows in unread.items())
        first = [column for column in unread if GOES_BEFORE.match(column)]
        joined = "+".join([*first, own, *(column for column in unread if column not in first)])
        raise PromptError(
            f"{self.source.title}: {told} that may belong to the request; join them with --column '{joined}', or leave "
            f"that out with --column '{own}' (for one file {name}#{own})"
        )


def rows_from(items: Items, source: Source, label: Label | None = None) -> tuple[list[Row], Reader]:
    """(rows, the reader that read them) of a source whose rows are all at hand.

    Raises:
        PromptError: if any row cannot be read; all that cannot are told.
    """
    profile = Profile()
    for _, item in items:
        profile.add(item)
    reader = Reader(source, layout_of(profile, source, label))
    return reader.read(items), reader


def _nothing(item: Any) -> bool:
    return blank(item) or (isinstance(item, dict) and all(blank(value) for value in item.values()))


def _clean(text: str) -> str:
    if not text.strip():
        raise Fault("empty text; remove the row, or name the column of the prompts with --column")
    return _encodable(text.strip())


def _encodable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Fault(
            f"half a surrogate pair (\\u{ord(text[error.start]):04x}) is no character; write the row again as UTF-8"
        ) from error
    return text
