"""The tables of a bench: a line for each edit in each task, its dose, its damage and its refusals."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from rhat.benching.document import BenchResults
from rhat.benching.making import REFERENCE, kl_of
from rhat.benching.moved import difference, moved_tables, value, verdict
from rhat.benching.settings import TASKS
from rhat.benching.words import DOING, called
from rhat.display import wording
from rhat.display.tables import Column, Head, Table, build, numeric, text
from rhat.display.wording import PROMPTS, interval, number


def tables(found: BenchResults) -> list[Table]:
    """One table a task and kind of test prompts, one a task of what else moves, and one of what is left out."""
    made = []
    for task in found.tasks:
        for label in TASKS[task].tested:
            rows = lines(found, task, label)
            made += build(f"{DOING[task]}: {PROMPTS[label]} test prompts", rows, COLUMNS, collapsed=False)
    left = [text("Part", "part"), text("Name", "name"), text("Task", "task"), KL_ASKED, text("Why", "reason")]
    return [*made, *moved_tables(found), *build("Left out", found.left_out, left, collapsed=False)]


def lines(found: BenchResults, task: str, label: str) -> Sequence[SimpleNamespace]:
    """Everything that was measured of each condition of a task on one kind of prompts, rising in KL, in the order of measuring."""
    rows = []
    damage = {(row.condition, row.measure): row for row in found.damage if (row.task, row.prompts) == (task, label)}
    for condition in dict.fromkeys(name for name, _ in damage):
        kl = kl_of(condition)
        doses = [row for row in found.doses if row.condition == condition and row.task in _searched(task)]
        rows.append(
            SimpleNamespace(
                condition=condition,
                kl=kl,
                doses=doses,
                rate=found.rate(condition, label),
                damage={measure: damage.get((condition, measure)) for measure in ("kl", "degenerate")},
                against=found.comparison(condition, f"{REFERENCE}@{kl:g}", label) if kl is not None else None,
            )
        )
    return sorted(rows, key=lambda row: row.kl or 0.0)


def _searched(task: str) -> tuple[str, ...]:
    """The tasks whose doses a task has."""
    own = TASKS[task]
    return tuple(one.name for one in TASKS.values() if (one.label, one.side) == (own.label, own.side))


def _dose(row: SimpleNamespace) -> str:
    """The operator's number, or the span of those of random directions."""
    values = sorted(one.dose for one in row.doses)
    if not values:
        return ""
    if len(values) == 1:
        return number(values[0], 2)
    return f"{number(values[0], 2)} to {number(values[-1], 2)}"


def _achieved(row: SimpleNamespace) -> str:
    """The KL on validation prompts with its interval; of random directions the span."""
    if len(row.doses) == 1:
        [one] = row.doses
        return f"{number(one.kl_mean, 3)} {interval(one.ci_low, one.ci_high, digits=3)}"
    values = sorted(one.kl_mean for one in row.doses)
    return f"{number(values[0], 3)} to {number(values[-1], 3)}" if values else ""


def _within(row: SimpleNamespace) -> str:
    return "" if not row.doses else "yes" if all(one.within for one in row.doses) else "no"


def _tested(row: SimpleNamespace) -> str:
    one = row.damage["kl"]
    return "" if one is None else value(one)


def _broken(row: SimpleNamespace) -> str:
    one = row.damage["degenerate"]
    return "" if one is None else value(one)


def _broken_more(row: SimpleNamespace) -> str:
    """How many more answers are broken than without an edit, where that was judged."""
    one = row.damage["degenerate"]
    return "" if one is None or one.difference is None else f"{difference(one)}, {verdict(one)}"


KL_ASKED: Column = numeric("KL asked", lambda row: "" if row.kl is None else wording.asked(row.kl))
COLUMNS: tuple[Column, ...] = (
    text("Edit", "condition", called),
    KL_ASKED,
    numeric("Dose", _dose),
    numeric("KL achieved, 95% interval", _achieved),
    (Head("Within 10 %"), _within),
    numeric("KL on test prompts, 95% interval", _tested),
    numeric("Refused, 95% interval", lambda row: "" if row.rate is None else wording.rate(row.rate)),
    numeric(
        "Against the difference of means", lambda row: "" if row.against is None else wording.difference(row.against)
    ),
    numeric("Holm p", lambda row: "" if row.against is None else wording.p_value(row.against.holm_p)),
    text("Verdict", "against", wording.judgement),
    numeric("Degenerate, 95% interval", _broken),
    numeric("Degenerate, against no edit", _broken_more),
)
