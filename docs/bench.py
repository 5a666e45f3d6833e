"""Write what a saved bench says into docs/bench.md: its sentences, and a line for each edit at all KL, with the command that made it. Every row with
its dose, damage and p value goes to docs/bench_rows.md.

.venv/bin/python docs/bench.py bench.json "rhat bench -d direction.safetensors --preset standard"
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from rhat.benching.document import BenchResults
from rhat.benching.settings import TASKS
from rhat.benching.tables import lines, tables
from rhat.benching.verdict import judged
from rhat.benching.words import DOING, called
from rhat.display import wording
from rhat.display.tables import Column, Table, build, numeric, text

PAGE = Path(__file__).parent / "bench.md"
ROWS = Path(__file__).parent / "bench_rows.md"
BEGIN, END = "<!-- bench: docs/bench.py -->", "<!-- end of bench -->"


def table(made: Table) -> list[str]:
    """A table as Markdown, under its caption."""
    rule = "|".join(" ---: " if head.numeric else " --- " for head in made.heads)
    rows = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in made.rows]
    heads = " | ".join(head.title for head in made.heads)
    return [f"**{made.caption}**", "", f"| {heads} |", f"|{rule}|", *(f"| {row} |" for row in rows), ""]


def overview(found: BenchResults, task: str, label: str) -> list[Table]:
    """A line for each edit of a task on one kind of prompts: its refusals at each KL, against the difference of means there."""
    by_edit: dict[str, dict[float | None, SimpleNamespace]] = {}
    for line in lines(found, task, label):
        by_edit.setdefault(line.condition.partition("@")[0], {})[line.kl] = line
    rows = [SimpleNamespace(condition=name, at=at) for name, at in by_edit.items()]
    columns = [
        text("Edit", "condition", called),
        numeric("Refused, without a KL asked", lambda row: _refused(row.at.get(None))),
    ]
    for kl in found.kl:
        columns += [_column(f"Refused at {kl:g} nats", kl, _refused), _column("Against mean difference", kl, _against)]
    caption = f"{DOING[task]}: {wording.PROMPTS[label]} test prompts"
    return build(caption, rows, columns, collapsed=False)


def _column(title: str, kl: float, shown: Callable[[SimpleNamespace | None], str]) -> Column:
    return numeric(title, lambda row: shown(row.at.get(kl)))


def _refused(line: SimpleNamespace | None) -> str:
    return "" if line is None or line.rate is None else wording.rate(line.rate)


def _against(line: SimpleNamespace | None) -> str:
    if line is None or line.against is None:
        return ""
    return f"{wording.difference(line.against)}, {wording.judgement(line.against)}"


def head(found: BenchResults, command: str) -> str:
    """What was run."""
    return f"`{command}` on {found.model.name}, rhat {found.rhat_version}; r̂ at layer {found.layer}, position −{-found.position}."


def section(found: BenchResults, command: str) -> str:
    """What was found on a model, from the rows of its bench."""
    said = [head(found, command), "", f"> {found.sentence}", "", *(f"- {sentence}" for sentence in found.sentences), ""]
    for task in found.tasks:
        for label in TASKS[task].tested:
            for made in overview(found, task, label):
                said += table(made)
    said.append(f"All doses, p values and damage are in [{ROWS.name}]({ROWS.name}).")
    return "\n".join(said)


def page(text: str, found: BenchResults, command: str) -> str:
    """The page with its section as the bench has it."""
    return re.sub(f"(?s){BEGIN}.*{END}", lambda _: f"{BEGIN}\n{section(found, command)}\n{END}", text)


def rows_page(found: BenchResults, command: str) -> str:
    """The page of all rows."""
    made = [line for one in tables(found) for line in table(one)]
    said = ["# Every row of the bench", "", head(found, command) + " What it says stands in [bench.md](bench.md).", ""]
    return "\n".join([*said, *made]).rstrip() + "\n"


if __name__ == "__main__":
    file, command = sys.argv[1:]
    bench = BenchResults.load(file)
    bench = bench.changed(**judged(bench))  # in this version's words
    PAGE.write_text(page(PAGE.read_text("utf-8"), bench, command), "utf-8")
    ROWS.write_text(rows_page(bench, command), "utf-8")
