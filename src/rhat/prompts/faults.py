"""Faults of a source's rows: gathered while it is read, and said all at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rhat.errors import PromptError

SHOWN = 8  # rows of a kind of fault that are named, and kinds of faults that are named


class Fault(Exception):  # noqa: N818
    """Why a row cannot be read; the text does not name the row, so that rows with one reason are told together."""


@dataclass(frozen=True)
class Broken:
    """What a parser gives in place of a row that it cannot read."""

    reason: str


@dataclass
class Faults:
    """Rows of the source `name` that cannot be read, by reason."""

    name: str
    rows: dict[str, list[str]] = field(default_factory=dict)

    def add(self, where: str, reason: str) -> None:
        """Note a row; `where` is the source's name and the row's place in it ("bad.csv:3")."""
        self.rows.setdefault(reason, []).append(where)

    def raise_any(self) -> None:
        """Raise one line that tells every reason and its rows, if there is any.

        Raises:
            PromptError: "bad.csv:3: why (and 2 more: 5, 9); bad.csv:4: …".
        """
        if not self.rows:
            return
        said = [self._said(reason, rows) for reason, rows in list(self.rows.items())[:SHOWN]]
        if more := len(self.rows) - len(said):
            said.append(f"and {more} more kinds of fault")
        raise PromptError("; ".join(said))

    def _said(self, reason: str, rows: list[str]) -> str:
        if len(rows) == 1:
            return f"{rows[0]}: {reason}"
        others = [row.removeprefix(self.name).lstrip(": ") for row in rows[1 : SHOWN + 1]]
        dots = ", …" if len(rows) > SHOWN + 1 else ""
        return f"{rows[0]}: {reason} (and {len(rows) - 1} more: {', '.join(others)}{dots})"


def counted(counts: Mapping[str, int]) -> str:
    """ "safe 250, unsafe 200"."""
    return ", ".join(f"{one_line(name, 40)} {n}" for name, n in counts.items())


def one_line(error: object, width: int = 160) -> str:
    """A message on one line, cut to `width` characters."""
    words = " ".join(str(error).split())
    return words if len(words) <= width else words[: width - 1] + "…"
