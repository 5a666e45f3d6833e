"""Measurements → the rows of a bench."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rhat.artifacts.judging import adjust
from rhat.artifacts.measured import Answered, compared, rate_part
from rhat.artifacts.rows import Comparison, Power
from rhat.benching.rows import Damage, Frontier
from rhat.benching.settings import TASKS, Task
from rhat.statistics import dependence, mean_interval, wilson

JOINT = 0.975  # level of each of two intervals that hold together at 95 %
REFERENCE, RANDOM = "finder:mean_difference", "control:random"
"""What edits are compared with, and chance: condition ids without a KL."""
Measured = Mapping[str, Mapping[str, Mapping[str, Answered]]]
"""Task → label → condition → its answers."""


def kl_of(condition: str) -> float | None:
    """The KL that a condition is matched at; None where it is at none."""
    _, matched, kl = condition.rpartition("@")
    return float(kl) if matched else None


def comparisons_of(measured: Measured, kls: Sequence[float], margin: float) -> tuple[list[Comparison], list[Power]]:
    """Every edit against the reference at the same KL, a family for each task; and the reference and random directions against
    no edit and each other, a family of their own."""
    rows: list[Comparison] = []
    power: list[Power] = []
    families: dict[str, list[tuple[Answered, Answered]]] = {}
    for task, by_label in measured.items():
        for by_name in by_label.values():
            for kl in kls:
                reference, random = by_name.get(f"{REFERENCE}@{kl:g}"), by_name.get(f"{RANDOM}@{kl:g}")
                own = [m for name, m in by_name.items() if kl_of(name) == kl and m not in (reference, random)]
                if reference is not None:
                    families.setdefault(TASKS[task].question, []).extend((m, reference) for m in own)
                controls = [(reference, by_name["baseline"]), (reference, random), (random, by_name["baseline"])]
                families.setdefault("bench_controls", []).extend(
                    (a, b) for a, b in controls if a is not None and b is not None
                )
    for question, pairs in families.items():
        both = compared(pairs, margin, question)
        rows += both["comparisons"]
        power += both["power"]
    rows = adjust(rows)
    open_ones = {row.names for row in rows if row.verdict == "undecided"}
    return rows, [row for row in power if row.names in open_ones]


def _kl(m: Answered) -> tuple[float, float, float, int] | None:
    if m.kl is None:
        return None
    found = mean_interval(m.kl, groups=m.topics[: len(m.kl)])
    return found.estimate, found.low, found.high, found.n


def _degenerate(m: Answered) -> tuple[float, float, float, int] | None:
    if not m.verdicts:
        return None
    part = rate_part(np.array([verdict == "degenerate" for verdict in m.verdicts]), m.topics)
    return part["rate"], part["ci_low"], part["ci_high"], part["n"]


MEASURES: dict[str, Callable[[Answered], tuple[float, float, float, int] | None]] = {
    "kl": _kl,
    "degenerate": _degenerate,
}
"""Damage by name: mean, its interval and n, of the answers under a condition. A new measure is one function and one line here."""


def damage_of(measured: Measured) -> list[Damage]:
    """What else each condition changes, on the same test prompts."""
    rows = []
    for task, label, name, m in _each(measured):
        for measure, of in MEASURES.items():
            if (found := of(m)) is not None:
                value, low, high, n = found
                rows.append(
                    Damage(
                        condition=name,
                        task=task.name,  # type: ignore[arg-type]
                        kl=kl_of(name),
                        prompts=label,  # type: ignore[arg-type]
                        measure=measure,
                        value=value,
                        ci_low=low,
                        ci_high=high,
                        n=n,
                    )
                )
    return rows


def frontier_of(measured: Measured) -> list[Frontier]:
    """Refusal against KL of each condition, each with an interval of 97.5 %: the two hold together at 95 % (Bonferroni)."""
    rows = []
    for task, label, name, m in _each(measured):
        if m.kl is None:
            continue
        alike = dependence(m.refused, m.topics)
        rate = wilson(
            int(m.refused.sum()), len(m.refused), JOINT, design_effect=1.0 if alike is None else alike.design_effect
        )
        kl = mean_interval(m.kl, JOINT, groups=m.topics[: len(m.kl)])
        row: dict[str, Any] = {
            "condition": name,
            "part": "none" if name == "baseline" else name.partition(":")[0],
            "task": task.name,
            "kl": kl_of(name),
            "prompts": label,
            "n": rate.n,
            "rate": rate.estimate,
            "ci_low": rate.low,
            "ci_high": rate.high,
            "kl_mean": kl.estimate,
            "kl_low": max(0.0, kl.low),  # what is possible: KL is never below 0
            "kl_high": kl.high,
        }
        rows.append(Frontier.of(row))
    return rows


def _each(measured: Measured) -> list[tuple[Task, str, str, Answered]]:
    return [
        (TASKS[task], label, name, m)
        for task, by_label in measured.items()
        for label, by_name in by_label.items()
        for name, m in by_name.items()
    ]
