"""Write the tables of docs/steering.md and docs/commands.md from the records of `rhat.vocabulary`.

.venv/bin/python docs/vocabulary.py
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from rhat.questions import QUESTIONS
from rhat.vocabulary import OPERATORS, PRESETS, SCOPES, Operator

DOCS = Path(__file__).parent


def _value(operator: Operator) -> str:
    parameter = operator.parameter
    return "none" if parameter is None else f"{parameter.symbol}; default: {parameter.default_text}"


def _where(operator: Operator) -> str:
    if not operator.everywhere:
        return "block input of r̂'s own layer"
    return "every block input, and all that blocks add to the stream" if operator.writers else "every block input"


def operators() -> str:
    """The table of operators."""
    rows = [f"| `{o.name}` | {o.formula} | {_where(o)} | {_value(o)} | {o.purpose} |" for o in OPERATORS.values()]
    return "\n".join(["| `--op` | formula | where | `--value` | purpose |", "| --- | --- | --- | --- | --- |", *rows])


def scopes() -> str:
    """The table of token scopes."""
    rows = [f"| `{kind.written}` | {kind.meaning} |" for kind in SCOPES.values()]
    return "\n".join(["| scope | tokens |", "| --- | --- |", *rows])


def presets() -> str:
    """The table of presets, each with the experiments that its questions run."""
    experiments = [experiment for question in QUESTIONS for experiment in question.experiments]
    rows = []
    for preset in PRESETS.values():
        names = [one.name for one in experiments if preset.name in one.presets]
        run = "all" if len(names) == len(experiments) else ", ".join(names)
        rows.append(f"| `{preset.name}` | {preset.duration} | {preset.prompts} | {run} |")
    return "\n".join(
        ["| preset | duration | test prompts per label | experiments |", "| --- | --- | --- | --- |", *rows]
    )


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "steering.md": {"operators": operators, "scopes": scopes},
    "commands.md": {"presets": presets},
}
"""The generated tables of each page."""


def written(name: str) -> str:
    """The page of this name with each table between its marks replaced."""
    page = (DOCS / name).read_text("utf-8")
    for title, table in TABLES[name].items():
        begin, end = f"<!-- {title}: docs/vocabulary.py -->", f"<!-- end of {title} -->"
        page, n = re.subn(
            f"{begin}.*?{end}", lambda _, t=table, b=begin, e=end: f"{b}\n{t()}\n{e}", page, flags=re.DOTALL
        )
        assert n == 1, f"{name}: expected one {begin} … {end}"
    return page


if __name__ == "__main__":
    for name in TABLES:
        (DOCS / name).write_text(written(name), "utf-8")
