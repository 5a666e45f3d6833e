"""Write the tables of docs/steering.md, docs/serving.md, docs/commands.md, docs/library.md and docs/judging.md from the records and tables that they list.

.venv/bin/python docs/vocabulary.py
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from rhat.directions import FINDERS
from rhat.questions import QUESTIONS
from rhat.vocabulary import JUDGE_NAMES, OPERATORS, PARAMETERS, PRESETS, SCOPES, Operator, Parameter
from rhat.vocabulary.operators import operators_taking

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


def _ticked(names: Iterable[str], word: str) -> str:
    """Names in code, the last two joined by a word."""
    *most, last = (f"`{name}`" for name in names)
    return f"{', '.join(most)} {word} {last}" if most else last


def _number(parameter: Parameter) -> str:
    """What a request may say for a parameter."""
    given = "a number"
    if parameter.unit:
        given = f'a number in {parameter.unit}, `"harmful_mean"` or `"harmless_mean"`'
    return f"{parameter.symbol} of {_ticked(operators_taking(parameter.name), 'and')}: {given}. Default: {parameter.default_text}"


def fields() -> str:
    """The table of the fields of an intervention in a request."""
    everywhere = _ticked((o.name for o in OPERATORS.values() if o.everywhere), "and")
    scopes = ", ".join(f"`{kind.written}`" + " (the default)" * (kind.name == "all") for kind in SCOPES.values())
    rows = {
        "op": _ticked(OPERATORS, "or"),
        "direction": "name of a direction (`rhat serve -d NAME=FILE`; without NAME, the file name without its extension). "
        "Default: the first",
        **{name: _number(parameter) for name, parameter in PARAMETERS.items()},
        "scope": f"tokens to edit: {scopes}",
        "layer": "layer to edit, counted from 0. Default: the direction's own",
        "where": f"`own layer`, `all layers` (the default of {everywhere}), or a list of layers",
        "when": "`above` or `below`: intervene only if the prompt's projection is above (or: at or below) the threshold; "
        "`certified`: with `set_projection`, the target, side and threshold of the certificate, if there is one; see [guard.md](guard.md)",
        "threshold": "threshold for `when`, in place of the calibrated one",
    }
    told = [f"| `{name}` | {meaning} |" for name, meaning in rows.items()]
    return "\n".join(["| field of an intervention | meaning |", "| --- | --- |", *told])


def finders() -> str:
    """The table of finders, each with the first paragraph of its docstring."""
    rows = []
    for name, finder in FINDERS.items():
        told = " ".join((finder.__doc__ or "").strip().split("\n\n")[0].split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {told} |")
    return "\n".join(["| finder | vector |", "| --- | --- |", *rows])


def presets() -> str:
    """The table of presets, each with the experiments that its questions run."""
    experiments = [one for question in QUESTIONS for one in question.experiments if one.presets]
    rows = []
    for preset in PRESETS.values():
        names = [one.name for one in experiments if preset.name in one.presets]
        run = "all" if len(names) == len(experiments) else ", ".join(names)
        rows.append(f"| `{preset.name}` | {preset.duration} | {preset.prompts} | {run} |")
    return "\n".join(
        ["| preset | duration | test prompts per label | experiments |", "| --- | --- | --- | --- |", *rows]
    )


def judges() -> str:
    """The table of judges."""
    rows = []
    for judge in JUDGE_NAMES:
        forms = ", ".join(f"`{form}`" for form in judge.forms)
        rows.append(f"| {forms} | {judge.reads} | {judge.needs or 'nothing'} |")
    return "\n".join(["| `--judge` | reads | needs |", "| --- | --- | --- |", *rows])


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "steering.md": {"operators": operators, "scopes": scopes},
    "serving.md": {"fields": fields},
    "commands.md": {"presets": presets},
    "library.md": {"finders": finders},
    "judging.md": {"judges": judges},
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
