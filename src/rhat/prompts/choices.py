"""What was chosen of a source, for the user to see before work begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rhat.prompts.faults import one_line

if TYPE_CHECKING:
    from rhat.prompts.contrast import Label
    from rhat.prompts.rows import Reader, Row

HARMFUL_WORDS = 4  # of a prompt that may be harmful: enough to know it by
OTHER_WIDTH = 60


@dataclass(frozen=True)
class Reading:
    """The rows of one source, how they were read, and for which label (None: for none in particular)."""

    rows: tuple[Row, ...]
    reader: Reader
    label: Label | None = None
    said: tuple[str, ...] = ()
    n: int | None = None  # prompts, if `rows` are only the first and the last

    @property
    def column(self) -> str:
        """Where the prompts are, or "" if the source is plain text."""
        return self.reader.layout.column

    def start(self, row: Row) -> str:
        """How a prompt begins: a few words of harmful ones."""
        known = self.reader.layout.known
        harmless = (
            "harmless" in (self.label, known and known.label_by(self.reader.source.name)) or self.label == "borderline"
        )
        if harmless and not (known and known.label_by(self.reader.source.name) == "harmful"):
            return one_line(row.text, OTHER_WIDTH)
        words = row.text.split()
        return one_line(" ".join(words[:HARMFUL_WORDS]), OTHER_WIDTH) + (" …" if len(words) > HARMFUL_WORDS else "")

    def summary(self) -> str:
        """One line: source, known set, number of prompts, column, first and last prompt."""
        known = self.reader.layout.known
        parts = [f"prompts: {self.label or 'all'}: {self.reader.source.title}"]
        if known:
            parts.append(f" ({known.title})")
        parts.append(f": {len(self.rows) if self.n is None else self.n} prompts")
        if self.column:
            parts.append(f" from column {self.column}")
        if self.rows:
            parts.append(f"; first '{self.start(self.rows[0])}', last '{self.start(self.rows[-1])}'")
        parts += [f"; {note}" for note in self.notes()]
        return "".join(parts)

    def notes(self) -> list[str]:
        """What else was made of the source: its format, columns not read for another, joins, answers beside the prompts."""
        made = [*self.said, *self.reader.layout.said]
        if self.reader.joined:
            made.append(f"{self.reader.joined} rows are joined of {' and '.join(self.reader.layout.columns)}")
        if self.reader.answered:
            made.append(f"{self.reader.answered} rows hold an answer too, which is not read")
        return made

    def warnings(self) -> list[str]:
        """What the user must know, a line each: rows left out and why, parts that are not read."""
        name = self.reader.source.title
        left_out = self.reader.left_out
        made = [f"{name}: {warned}" for warned in self.reader.layout.warned]
        if left_out:
            said = ", ".join(f"{n} {why}" for why, n in left_out.items())
            made.append(f"{name}: {sum(left_out.values())} of {self.reader.given} rows are left out ({said})")
        made += [
            f"{name}: {n} rows have a {column!r} that is not read, because --column names {self.column} alone; "
            f"'{self.column}+{column}' joins the two"
            for column, n in self.reader.unread.items()
            if n
        ]
        if self.reader.later:
            made.append(f"{name}: {self.reader.later} rows have later turns, which are not read")
        if self.reader.before:
            made.append(
                f"{name}: {self.reader.before} rows have messages before the first user turn (such as a system message), "
                "which are not read"
            )
        if self.reader.transcripts:
            made.append(
                f"{name}: {self.reader.transcripts} prompts look like transcripts, with an answer or a chat template in them; "
                "they are taken as they are"
            )
        return made
