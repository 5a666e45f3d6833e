"""What edits move besides refusal, in plain sentences and a table; everything is read from the rows of damage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace

from rhat.benching.damage import MEASURES, Measure
from rhat.benching.document import BenchResults
from rhat.benching.making import REFERENCE, kl_of
from rhat.benching.rows import Damage
from rhat.benching.settings import TASKS, Task
from rhat.benching.words import DOING, called
from rhat.display import wording
from rhat.display.tables import Column, Table, build, numeric, text
from rhat.display.wording import PROMPTS, count, interval, number, percent, points, signed

WORDS = {"better": "higher", "worse": "lower", "equivalent": "within the margin", "undecided": "undecided"}
OWN = tuple(measure for measure in MEASURES.values() if measure.of is None)
"""Measures with texts or questions of their own."""
FEW = 3  # conditions that a sentence names one by one
ITEMS = {
    "cross_entropy_neutral": "neutral text",
    "cross_entropy_own": "own answer",
    "capability": "question",
    "degenerate": "prompt",
}


def rows_of(found: BenchResults, task: str, measure: str, label: str | None = None) -> list[Damage]:
    """The rows of a measure in a task, on one kind of prompts or with items of its own."""
    return [row for row in found.damage if (row.task, row.measure, row.prompts) == (task, measure, label)]


def value(row: Damage) -> str:
    """A value with its interval, in its unit."""
    if MEASURES[row.measure].share:
        return f"{percent(row.value)} {interval(row.ci_low, row.ci_high, scale=100, digits=1)}"
    return f"{number(row.value, 3)} {interval(row.ci_low, row.ci_high, digits=3)}"


def difference(row: Damage) -> str:
    """A difference from the unedited model with its interval; shares in points."""
    if row.difference is None or row.difference_low is None or row.difference_high is None:
        return ""
    if MEASURES[row.measure].share:
        return f"{points(row.difference)} {interval(row.difference_low, row.difference_high, scale=100, digits=1)}"
    return f"{signed(row.difference, 3)} {interval(row.difference_low, row.difference_high, digits=3)}"


def verdict(row: Damage) -> str:
    """The judgement of a difference, with its adjusted p value."""
    if row.verdict is None or row.holm_p is None:
        return ""
    return f"{WORDS[row.verdict]} (p {wording.p_value(row.holm_p)})"


def sentences(found: BenchResults) -> list[str]:
    """What moves besides refusal, a sentence for each task and measure: what is shown to move it and what is not. Of broken answers
    nothing is said where nothing is shown."""
    said = []
    for name in dict.fromkeys((*found.tasks, *(row.task for row in found.damage))):
        task = TASKS[name]
        for measure in MEASURES.values():
            for label in (None,) if measure.of is None else task.tested:
                rows = [row for row in rows_of(found, name, measure.name, label) if row.verdict is not None]
                if rows and (label is None or any(row.verdict != "undecided" for row in rows)):
                    said.append(_sentence(found, task, measure, label, rows))
    return said


def _sentence(found: BenchResults, task: Task, measure: Measure, label: str | None, rows: Sequence[Damage]) -> str:
    on = "" if label is None else f", {PROMPTS[label]} test prompts"
    parts = []
    for word in ("better", "worse", "equivalent"):
        these = [row for row in rows if row.verdict == word]
        if these:
            within = f"within ±{wording.margin_points(these[0].margin or 0)}" if word == "equivalent" else WORDS[word]
            parts.append(f"{within} under {_listed(found, these)}")
    rest = sum(row.verdict == "undecided" for row in rows)
    if rest:
        parts.append(f"undecided in {count(rest, 'case')}")
    nothing = next((row for row in rows_of(found, task.name, measure.name, label) if row.condition == "baseline"), None)
    plain = "" if nothing is None else f" ({value(nothing)}{_unit(measure)} on {count(nothing.n, ITEMS[measure.name])})"
    return f"{DOING[task.name]}{on}, {measure.title[:1].lower()}{measure.title[1:]} against no edit{plain}: {'; '.join(parts)}."


def _unit(measure: Measure) -> str:
    return "" if measure.share else f" {measure.unit}"


def _listed(found: BenchResults, rows: Sequence[Damage]) -> str:
    """Conditions with their differences; of many the reference alone, and how many there are."""
    if len(rows) <= FEW:
        return ", ".join(f"{_name(found, row)} {difference(row)}" for row in rows)
    said = f"{count(len(rows), 'condition')}"
    reference = [row for row in rows if row.condition.partition("@")[0] == REFERENCE]
    return said + (
        f", among them {', '.join(f'{_name(found, row)} {difference(row)}' for row in reference)}" if reference else ""
    )


def _name(found: BenchResults, row: Damage) -> str:
    at = f" at {wording.asked(row.kl)} nats" if row.kl is not None and len(found.kl) > 1 else ""
    return f"{wording.inside(called(row.condition))}{at}"


def moved_tables(found: BenchResults) -> list[Table]:
    """A table for each task that doses were searched for, a line for each condition; none where nothing beside refusal was measured."""
    made = []
    for task in dict.fromkeys(row.task for row in found.damage if row.prompts is None):
        by_measure = {m.name: {row.condition: row for row in rows_of(found, task, m.name)} for m in OWN}
        names = dict.fromkeys(name for rows in by_measure.values() for name in rows)
        lines = [
            SimpleNamespace(
                condition=name, kl=kl_of(name), rows={key: rows.get(name) for key, rows in by_measure.items()}
            )
            for name in sorted(names, key=lambda name: kl_of(name) or 0.0)
        ]
        caption = f"{DOING[task]}: what else moves, against no edit ({_measured(by_measure.values())})"
        made += build(caption, lines, COLUMNS, collapsed=False)
    return made


def _measured(by_measure: Iterable[Mapping[str, Damage]]) -> str:
    """How many items each measure has, of how many there are."""
    said = []
    for rows in by_measure:
        row = next(iter(rows.values()), None)
        if row is not None:
            of = f" of {row.available}" if row.available and row.available != row.n else ""
            said.append(f"{row.n}{of} {ITEMS[row.measure]}{'s' if (row.available or row.n) != 1 else ''}")
    return ", ".join(said)


def _cell(measure: str, shown: Callable[[Damage], str]) -> Callable[[SimpleNamespace], str]:
    def cell(line: SimpleNamespace) -> str:
        row = line.rows[measure]
        return "" if row is None else shown(row)

    return cell


def _columns(measure: Measure) -> tuple[Column, ...]:
    unit = "" if measure.share else f" ({measure.unit})"
    return (
        numeric(f"{measure.title}{unit}, 95% interval", _cell(measure.name, value)),
        numeric("Difference, 95% interval", _cell(measure.name, difference)),
        numeric("Verdict", _cell(measure.name, verdict)),
    )


COLUMNS: tuple[Column, ...] = (
    text("Edit", "condition", called),
    numeric("KL asked", lambda row: "" if row.kl is None else wording.asked(row.kl)),
    *(column for measure in OWN for column in _columns(measure)),
)
