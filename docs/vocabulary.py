"""Write the tables of docs/steering.md, docs/serving.md, docs/commands.md, docs/finding.md and docs/judging.md from the records and tables that they list.

.venv/bin/python docs/vocabulary.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from rhat.questions import QUESTIONS
from rhat.vocabulary import (
    FINDER_KINDS,
    JUDGE_NAMES,
    OPERATORS,
    PARAMETERS,
    PRESETS,
    RULE_KINDS,
    SCOPES,
    Operator,
    Parameter,
)
from rhat.vocabulary.operators import operators_taking

DOCS = Path(__file__).parent


def _value(operator: Operator) -> str:
    parameter = operator.parameter
    return "none" if parameter is None else f"{parameter.symbol}; default: {parameter.default_text}"


def _where(operator: Operator) -> str:
    if not operator.everywhere:
        return "block input of r̂'s own layer"
    if not operator.writers:
        return "every block input"
    return f"{'the first' if operator.once else 'every'} block input, and all that blocks add to the stream"


def operators() -> str:
    """The table of operators."""
    rows = [
        f"| `{o.name}` | {o.formula} | {_where(o)} | {_value(o)} | {o.purpose} | {o.source} |"
        for o in OPERATORS.values()
    ]
    head = ["| `--op` | formula | where | `--value` | purpose | source |", "| --- | --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *rows])


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
    if parameter.by_means:
        given = f'a number in {parameter.unit}, `"harmful_mean"` or `"harmless_mean"`'
    return f"{parameter.symbol} of {_ticked(operators_taking(parameter.name), 'and')}: {given}. Default: {parameter.default_text}"


def fields() -> str:
    """The table of the fields of an intervention in a request."""
    everywhere = _ticked((o.name for o in OPERATORS.values() if o.everywhere), "and")
    scopes = ", ".join(f"`{kind.written}`" + " (the default)" * (kind.name == "all") for kind in SCOPES.values())
    rows = {
        "op": _ticked(OPERATORS, "or"),
        "direction": "name of a direction (`rhat serve -d NAME=FILE`; without NAME, the file name without its extension), or the vector "
        "itself, see below. Default: the first",
        **{name: _number(parameter) for name, parameter in PARAMETERS.items()},
        "alpha": "in place of that number, by the means: 0 is the harmless mean and 1 the harmful one; of a coefficient, 1 is the "
        "gap between them",
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
    """The table of finders."""
    rows = []
    for kind in FINDER_KINDS.values():
        option = "" if kind.option is None else f"; {kind.option.name.upper()}: {kind.option.meaning}"
        formula = kind.formula.replace("|", "\\|")
        rows.append(f"| `{kind.written}` | {kind.label} | {formula}{option} | {kind.source} |")
    return "\n".join(["| `--finder` | | vector | source |", "| --- | --- | --- | --- |", *rows])


def rules() -> str:
    """The table of selection rules."""
    rows = [f"| `{rule.name}` | {rule.formula} | {rule.reads} | {rule.source} |" for rule in RULE_KINDS.values()]
    return "\n".join(
        ["| `--rule` | chooses the candidate c with | reads | source |", "| --- | --- | --- | --- |", *rows]
    )


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


def tolerated() -> str:
    """The table of fields of a request that are accepted because they change nothing."""
    from rhat.server.fields import CHAT, TEXT, TOLERATED

    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for row in TOLERATED.values():
        values = ["null", *(json.dumps(value) for value in row.values or ())]
        told = "any" if row.values is None else _ticked(values, "or")
        groups.setdefault((told, row.routes), []).append(row.name)
    where = {(CHAT, TEXT): "both", (CHAT,): "chat", (TEXT,): "plain completions"}
    rows = [
        f"| {', '.join(f'`{n}`' for n in names)} | {told} | {where[routes]} |"
        for (told, routes), names in groups.items()
    ]
    return "\n".join(["| field | accepted values | in |", "| --- | --- | --- |", *rows])


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "steering.md": {"operators": operators, "scopes": scopes},
    "serving.md": {"fields": fields, "tolerated": tolerated},
    "commands.md": {"presets": presets},
    "finding.md": {"finders": finders, "rules": rules},
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
