"""Damage: what else an edit changes, by several measures, each paired with the unedited model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhat.artifacts.measured import Answered, rate_part
from rhat.benching.making import Measured, each_of, kl_of
from rhat.benching.rows import Damage
from rhat.reprs import one_line
from rhat.scoring.capability.rows import MARGIN
from rhat.statistics import (
    holm_exclusive,
    judge,
    margin_tests,
    mean_interval,
    mean_p,
    paired_comparison,
)
from rhat.statistics.judgement import ALPHA


@dataclass(frozen=True, eq=False)
class Values:
    """What one measure gives under one condition: a number for each item, NaN where there is none.

    topics     of each item; none: every item is on its own
    available  how many items there are, of which these are some
    """

    values: NDArray[np.float64]
    topics: tuple[str, ...] = ()
    available: int | None = None

    __repr__ = one_line


@dataclass(frozen=True)
class Measure:
    """A measure of damage.

    title    in words, as a column's head
    unit     of what is measured: nats, nats a token, share
    of       what it reads from the answers under a condition; None: it has texts or questions of its own (`rhat.benching.beside`)
    differs  whether the unedited model has a value of its own, from which a difference is taken
    """

    name: str
    title: str
    unit: str
    of: Callable[[Answered], Values | None] | None = None
    differs: bool = True

    __repr__ = one_line

    @property
    def share(self) -> bool:
        """Whether it is a share of items, each true or not."""
        return self.unit == "share"


def _kl(m: Answered) -> Values | None:
    return None if m.kl is None else Values(m.kl, m.topics[: len(m.kl)])


def _degenerate(m: Answered) -> Values | None:
    broken = np.array([verdict == "degenerate" for verdict in m.verdicts], dtype=np.float64)
    return Values(broken, m.topics) if len(broken) else None


_RECORDS = (
    Measure("kl", "KL of the next token", "nats", of=_kl, differs=False),
    Measure("degenerate", "Degenerate answers", "share", of=_degenerate),
    Measure("cross_entropy_neutral", "Cross-entropy of neutral texts", "nats a token"),
    Measure("cross_entropy_own", "Cross-entropy of its own unedited answers", "nats a token"),
    Measure("capability", "Questions answered rightly", "share"),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _RECORDS}
"""Measures of damage by name. A new one is one function and one record here; with items of its own, its function is in `rhat.benching.beside`."""

Beside = Mapping[str, Mapping[str, Mapping[str, Values]]]
"""Task whose doses they have → measure → condition → values."""


def damage_of(measured: Measured, beside: Beside | None = None) -> list[Damage]:
    """A row for each measure of each condition; the differences of a task are adjusted together (Holm)."""
    made: list[dict[str, Any]] = []
    nulls: list[list[float]] = []

    def add(measure: Measure, ids: Mapping[str, Any], found: Values | None, base: Values | None) -> None:
        row = None if found is None else _value(measure, found)
        if row is None or found is None:
            return
        differs = measure.differs and base is not None and ids["condition"] != "baseline"
        part, tested = _difference(measure, found, base) if differs and base is not None else ({}, [])
        made.append({**ids, "kl": kl_of(ids["condition"]), "measure": measure.name, **row, **part})
        nulls.append(tested)

    for task, label, name, m in each_of(measured):
        for measure in MEASURES.values():
            if measure.of is not None:
                base = measured[task.name][label].get("baseline")
                ids = {"condition": name, "task": task.name, "prompts": label}
                add(measure, ids, measure.of(m), None if base is None else measure.of(base))
    for task_name, by_measure in (beside or {}).items():
        for key, by_name in by_measure.items():
            for name, values in by_name.items():
                add(MEASURES[key], {"condition": name, "task": task_name}, values, by_name.get("baseline"))
    for name in dict.fromkeys(row["task"] for row in made):
        _adjust([(row, tested) for row, tested in zip(made, nulls, strict=True) if row["task"] == name and tested])
    return [Damage.of(row) for row in made]


def _value(measure: Measure, found: Values) -> dict[str, Any] | None:
    """`value` with its interval; None where there are too few items for one."""
    there = ~np.isnan(found.values)
    topics = _of(found.topics, there)
    known = found.values[there]
    if not len(known):
        return None
    if measure.share:
        part = rate_part(known.astype(bool), topics)
        row: dict[str, Any] = {"value": part["rate"], "ci_low": part["ci_low"], "ci_high": part["ci_high"]}
    elif len(known) < 2:
        return None
    else:
        mean = mean_interval(known, groups=topics)
        row = {"value": mean.estimate, "ci_low": mean.low, "ci_high": mean.high}
    return row | {"n": len(known), "available": found.available}


def _difference(measure: Measure, found: Values, base: Values) -> tuple[dict[str, Any], list[float]]:
    """The paired difference with its interval, and the p values that it brings to its family."""
    both = ~(np.isnan(found.values) | np.isnan(base.values))
    topics, mine, plain = _of(found.topics, both), found.values[both], base.values[both]
    if not measure.share:
        apart = mean_interval(mine - plain, groups=topics)
        p = mean_p(mine - plain, topics)
        ends = {"difference_low": apart.low, "difference_high": apart.high}
        return {"difference": apart.estimate, **ends, "p": p}, [p]
    pair = paired_comparison(mine.astype(bool), plain.astype(bool), margin=MARGIN, groups=topics or None)
    alike = pair.dependence
    tests = margin_tests(pair.b, pair.c, pair.n, MARGIN, 1.0 if alike is None else alike.design_effect)
    part = {
        "difference": pair.difference,
        "difference_low": pair.ci_low,
        "difference_high": pair.ci_high,
        "p": pair.mcnemar_p,
        "margin": MARGIN,
        "_ends90": (pair.ci90_low, pair.ci90_high),
    }
    return part, [pair.mcnemar_p, tests.above_p, tests.below_p]


def _adjust(family: Sequence[tuple[dict[str, Any], list[float]]]) -> None:
    """Put the adjusted p values and the verdict into the rows of a family."""
    if not family:
        return
    for (row, _), adjusted in zip(family, holm_exclusive([tested for _, tested in family]), strict=True):
        p, ends = float(adjusted[0]), (row["difference_low"], row["difference_high"])
        row["holm_p"], row["verdict"] = p, judge(ends, holm_p=p)
        if len(adjusted) > 1:
            row["equivalence_p"] = float(max(adjusted[1:]))
            word = judge(ends, row.pop("_ends90"), MARGIN, p)
            row["verdict"] = "undecided" if word == "equivalent" and row["equivalence_p"] >= ALPHA else word


def _of(topics: Sequence[str], which: NDArray[np.bool_]) -> list[str]:
    """The topics of some items."""
    return [topic for topic, there in zip(topics, which, strict=True) if there] if topics else []
