"""Write the tables of docs/steering.md from the records of `rhat.vocabulary`.

.venv/bin/python docs/vocabulary.py
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from rhat.vocabulary import OPERATORS, SCOPES, Operator

PAGE = Path(__file__).parent / "steering.md"


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


TABLES: dict[str, Callable[[], str]] = {"operators": operators, "scopes": scopes}


def written(page: str) -> str:
    """The page with each table between its marks replaced."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: docs/vocabulary.py -->", f"<!-- end of {name} -->"
        page, n = re.subn(
            f"{begin}.*?{end}", lambda _, t=table, b=begin, e=end: f"{b}\n{t()}\n{e}", page, flags=re.DOTALL
        )
        assert n == 1, f"{PAGE}: expected one {begin} … {end}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
