"""Measurements → the rows of an audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rhat.artifacts.judging import adjust
from rhat.artifacts.rows import Comparison, Power
from rhat.auditing.added import Added
from rhat.auditing.rows import Dose, Effect, LayerCosine, Moved, Rank, Vector
from rhat.directions import Direction
from rhat.lab import Lab, Measurement
from rhat.lab.matching import Matched
from rhat.lab.rows import compared, rate_part, rate_row, score_row
from rhat.prompts import Label
from rhat.reprs import one_line
from rhat.statistics.permutation import among


@dataclass(frozen=True, eq=False)
class Made:
    """What an audit measured.

    target   the KL that doses were searched for, nats
    n        harmless validation prompts of that search
    doses    what was added
    answers  label → condition → its answers
    effects  of each random direction by itself, and of the others
    """

    target: float
    n: int
    doses: Sequence[Dose]
    answers: Mapping[Label, Mapping[str, Measurement]]
    effects: Sequence[Effect]

    __repr__ = one_line


def rows_of(made: Made, margin: float) -> dict[str, Any]:
    """The fields of an audit that follow from what was measured."""
    comparisons, power = comparisons_of(made.answers, margin)
    every = [m for by_name in made.answers.values() for m in by_name.values()]
    return {
        "kl": made.target,
        "n_searched": made.n,
        "doses": made.doses,
        "rates": [rate_row(m) for m in every],
        "scores": [score_row(m) for m in every],
        "comparisons": comparisons,
        "power": power,
        "moved": moved_of(made.answers),
        "effects": made.effects,
        "ranks": ranks_of(made.effects, comparisons),
    }


def comparisons_of(
    measured: Mapping[Label, Mapping[str, Measurement]], margin: float
) -> tuple[list[Comparison], list[Power]]:
    """The family of the verdict and that of the controls, each adjusted by itself."""
    families = {
        "audit": (
            ("vector", "baseline"),
            ("vector", "random"),
            ("cleaned_same_dose", "baseline"),
            ("cleaned", "baseline"),
        ),
        "audit_controls": (("rhat", "baseline"), ("random", "baseline"), ("vector", "cleaned")),
    }
    rows: list[Comparison] = []
    power: list[Power] = []
    for question, pairs in families.items():
        there = [(some[a], some[b]) for some in measured.values() for a, b in pairs if a in some and b in some]
        both = compared(there, margin, question)
        rows += both["comparisons"]
        power += both["power"]
    rows = adjust(rows)
    open_ones = {row.names for row in rows if row.verdict == "undecided"}
    return rows, [row for row in power if row.names in open_ones]


def moved_of(measured: Mapping[Label, Mapping[str, Measurement]]) -> list[Moved]:
    """Shares of prompts that each condition moves to the other side."""
    rows = []
    for label, by_name in measured.items():
        base = by_name["baseline"].refused
        for name, m in by_name.items():
            if name == "baseline":
                continue
            now, no_more = rate_part(m.refused & ~base, m.topics), rate_part(~m.refused & base, m.topics)
            row: dict[str, Any] = {"condition": name, "prompts": label, "n": now["n"]}
            for field, part in (("refused_now", now), ("answered_now", no_more)):
                row |= {field: part["rate"], f"{field}_low": part["ci_low"], f"{field}_high": part["ci_high"]}
            rows.append(Moved.of(row))
    return rows


def ranks_of(effects: Sequence[Effect], comparisons: Sequence[Comparison]) -> list[Rank]:
    """Ranks of the vector, cleaned or not, in the direction in which each moves the refusals of these prompts."""
    rows = []
    for row in effects:
        if row.condition in ("rhat", "random"):
            continue
        names = (row.condition, "baseline", row.prompts)
        by_answers = next((c.difference for c in comparisons if c.names == names), 0.0)
        sign = float(np.sign(by_answers or row.effect)) or 1.0
        others = [e.effect for e in effects if e.condition == "random" and e.prompts == row.prompts]
        found = among(sign * row.effect, sign * np.array(others))
        side: Literal["refusal", "answers"] = "refusal" if sign > 0 else "answers"
        rows.append(
            Rank(
                condition=row.condition,
                prompts=row.prompts,
                towards=side,
                rank=found.rank,
                p=found.p,
                n_controls=found.n,
            )
        )
    return rows


def cosines_of(lab: Lab, vector: Direction) -> list[LayerCosine]:
    """Cosines with r̂ at its layer and with the difference of means at the others, where there is one."""
    rows = []
    for layer in range(lab.model.n_layers):
        own = layer == lab.direction.layer
        there = lab.direction if own else lab.layer_direction(layer)
        if there is not None:
            rows.append(LayerCosine(layer=layer, cosine=vector.cosine(there), own=own))
    return rows


def dose_row(one: Added, match: Matched) -> Dose:
    """The dose that was found for a direction."""
    return Dose(
        condition=one.condition,
        seed=one.seed,
        site=f"resid_pre.{one.layer}",
        dose=match.dose,
        kl_mean=match.kl,
        close=match.close,
    )


def vector_row(vector: Direction, file: str | None = None) -> Vector:
    """Where a vector is added, and where it comes from."""
    return Vector(file=file, site=str(vector.site), length=vector.norm, method=vector.method)
