"""Write what a saved bench says into docs/bench.md: its sentences and tables, with the command that made it.

.venv/bin/python docs/bench.py bench.json "rhat bench -d direction.safetensors --preset standard"
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rhat.benching.document import BenchResults
from rhat.benching.tables import tables
from rhat.display.tables import Table

PAGE = Path(__file__).parent / "bench.md"
BEGIN, END = "<!-- bench: docs/bench.py -->", "<!-- end of bench -->"


def table(made: Table) -> list[str]:
    """A table as Markdown, under its caption."""
    rule = "|".join(" ---: " if head.numeric else " --- " for head in made.heads)
    rows = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in made.rows]
    heads = " | ".join(head.title for head in made.heads)
    return [f"**{made.caption}**", "", f"| {heads} |", f"|{rule}|", *(f"| {row} |" for row in rows), ""]


def section(found: BenchResults, command: str) -> str:
    """What was found on a model, from the rows of its bench."""
    seconds = sum(row.seconds for row in found.timings)
    lines = [
        f"`{command}` on {found.model.name}, rhat {found.rhat_version}, {seconds / 60:.0f} minutes; r̂ at layer {found.layer}, "
        f"position −{-found.position}.",
        "",
        f"> {found.sentence}",
        "",
        *(f"- {sentence}" for sentence in found.sentences),
        "",
    ]
    for made in tables(found):
        lines += table(made)
    return "\n".join(lines).rstrip()


def page(text: str, found: BenchResults, command: str) -> str:
    """The page with its section as the bench has it."""
    return re.sub(f"(?s){BEGIN}.*{END}", lambda _: f"{BEGIN}\n{section(found, command)}\n{END}", text)


if __name__ == "__main__":
    file, command = sys.argv[1:]
    PAGE.write_text(page(PAGE.read_text("utf-8"), BenchResults.load(file), command), "utf-8")
