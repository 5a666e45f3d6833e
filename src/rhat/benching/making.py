"""Measurements → the rows of a bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rhat.artifacts.judging import adjust
from rhat.artifacts.measured import Answered, compared
from rhat.artifacts.rows import Comparison, Power
from rhat.benching.rows import Frontier
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


def frontier_of(measured: Measured) -> list[Frontier]:
    """Refusal against KL of each condition, each with an interval of 97.5 %: the two hold together at 95 % (Bonferroni)."""
    rows = []
    for task, label, name, m in each_of(measured):
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


def each_of(measured: Measured) -> list[tuple[Task, str, str, Answered]]:
    """(task, label, condition, its answers) of all that was measured."""
    return [
        (TASKS[task], label, name, m)
        for task, by_label in measured.items()
        for label, by_name in by_label.items()
        for name, m in by_name.items()
    ]
