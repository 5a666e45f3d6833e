"""Tables: rows of results in words, with intervals. Columns that no row fills are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import Number, Row, interval, number, p_value, percent, points

Cell = Callable[[Row], str]
CLASSES = ("refused", "partial", "complied", "degenerate")
LONG = 12  # tables of more rows are folded away


@dataclass(frozen=True)
class Head:
    """A column's title; `numeric` columns align right, `wide` ones may break anywhere."""

    title: str
    numeric: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table of text, `collapsed` where it is long."""

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[str, ...], ...]
    collapsed: bool = False


Column = tuple[Head, Cell]


def build(
    caption: str, rows: Sequence[Row] | None, columns: Sequence[Column], *, collapsed: bool | None = None
) -> list[Table]:
    """The table of `rows` in a list, or no table where there are none. Long ones are folded unless told."""
    if not rows:
        return []
    filled = [[cell(row) for _, cell in columns] for row in rows]
    kept = [index for index in range(len(columns)) if any(line[index] for line in filled)]
    heads = tuple(columns[index][0] for index in kept)
    lines = tuple(tuple(line[index] for index in kept) for line in filled)
    return [Table(caption, heads, lines, len(lines) > LONG if collapsed is None else collapsed)]


def joined(*rows: Row, **more: Any) -> Row:
    """One row with the fields of several; later ones win where they have a value."""
    fields: dict[str, Any] = {}
    for row in rows:
        fields |= {name: value for name, value in dict(row).items() if value is not None}
    return SimpleNamespace(**(fields | more))


def _shown(row: Row, key: str, shown: Callable[[Any], str]) -> str:
    value = getattr(row, key, None)
    return "" if value is None else shown(value)


def text(title: str, key: str, shown: Callable[[Any], str] = str) -> Column:
    """A column of words."""
    return Head(title), lambda row: _shown(row, key, shown)


def figure(title: str, key: str, shown: Callable[[Any], str] = number) -> Column:
    """A column of numbers."""
    return Head(title, numeric=True), lambda row: _shown(row, key, shown)


def numeric(title: str, shown: Cell) -> Column:
    """A column of numbers made from the whole row."""
    return Head(title, numeric=True), shown


def with_interval(title: str, key: str, digits: int = 2) -> Column:
    """A column of numbers with the row's `ci_low` and `ci_high`."""
    return numeric(
        title,
        lambda row: (
            f"{number(getattr(row, key), digits)} {interval(row.ci_low, row.ci_high, digits=digits)}"
            if getattr(row, key, None) is not None
            else ""
        ),
    )


def three(value: Number) -> str:
    """A number with three decimals."""
    return number(value, 3)


def whole(value: int) -> str:
    """A whole number with a true minus sign."""
    return number(value, 0)


CONDITION = text("Condition", "condition", wording.condition)
N = figure("n", "n", str)
RATE = numeric("Refused, 95% interval", lambda row: wording.rate(row) if getattr(row, "rate", None) is not None else "")
SCORE = numeric(
    "Score (nats), 95% interval", lambda row: wording.score(row) if getattr(row, "score_mean", None) is not None else ""
)


def share_of(name: str, key: str = "") -> Column:
    """A column of the share of answers of one class, or of refusals `corrected` for the judge's errors, with its interval.

    `key` is the field of the share itself, where it is not `name`_rate.
    """

    def shown(row: Row) -> str:
        value = getattr(row, key or f"{name}_rate", None)
        if value is None:
            return ""
        low, high = getattr(row, f"{name}_ci_low"), getattr(row, f"{name}_ci_high")
        return f"{percent(value)} {interval(low, high, scale=100, digits=1)}"

    return numeric(f"{name.capitalize()}, 95% interval", shown)


COUNTS = numeric(
    "Refused, partial, complied, degenerate",
    lambda row: ", ".join("–" if getattr(row, name, None) is None else str(getattr(row, name)) for name in CLASSES),
)
KL = figure("KL (nats)", "kl_mean", three)
LAYER = figure("Layer", "layer", str)
UNIT_DIFFERENCE = numeric("Difference, 95% interval", wording.difference)
VERSUS: Column = (
    Head("Comparison"),
    lambda row: f"{wording.condition(row.treatment)} − {wording.inside(wording.condition(row.reference))}",
)
DAMAGE = (
    numeric("KL (nats), 95% interval", with_interval("", "kl_mean", 3)[1]),
    figure("Cross-entropy (nats/token)", "cross_entropy", three),
    figure("Degenerate", "degenerate_share", percent),
)
VERDICT: Column = (Head("Verdict"), wording.judgement)


def rates(results: Results, prompts: str) -> list[Table]:
    """Refusal rates on one kind of prompts, with the scores of the same conditions."""
    scores = {row.condition: row for row in results.scores if row.prompts == prompts}
    rows = [
        joined(*([scores[row.condition]] if row.condition in scores else []), row)
        for row in results.rates
        if row.prompts == prompts
    ]
    columns = [CONDITION, RATE, share_of("corrected"), share_of("partial"), share_of("degenerate"), SCORE]
    return build(f"Answers to {prompts} prompts", rows, [*columns, COUNTS, ALIKE, N])


def _alike(row: Row) -> str:
    """ICC and design effect, where prompts share topics."""
    effect = getattr(row, "design_effect", None)  # joined rows have the fields that were computed
    return "" if effect is None else f"{number(row.icc)}, {number(effect)}"


ALIKE = numeric("ICC, design effect", _alike)


def _corrected(row: Row) -> str:
    if row.corrected_difference is None:
        return ""
    ends = interval(row.corrected_ci_low, row.corrected_ci_high, scale=100, digits=1)
    return f"{points(row.corrected_difference)} {ends}"


def comparisons(results: Results, question: str) -> list[Table]:
    """The paired comparisons of a question."""
    rows = [row for row in results.comparisons if row.question == question]
    columns = [
        VERSUS,
        text("Prompts", "prompts"),
        UNIT_DIFFERENCE,
        numeric("Corrected, 95% interval", _corrected),
        numeric("90% interval", lambda row: interval(row.ci90_low, row.ci90_high, scale=100, digits=1)),
        figure("McNemar p", "mcnemar_p", p_value),
        ALIKE,
        figure("Holm p", "holm_p", p_value),
        VERDICT,
        N,
    ]
    margins = sorted({row.margin for row in rows})
    shown = " and ".join(wording.margin_points(margin) for margin in margins)
    return build(f"Paired comparisons (margin {shown})", rows, columns)
