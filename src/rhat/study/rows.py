"""Measurements → rows of results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rhat.statistics import Judgement, equivalence_power, holm, judge, mean_interval, paired_comparison, wilson
from rhat.study.lab import Measurement

Row = dict[str, Any]


def score_part(scores: np.ndarray) -> Row:
    """`score_mean` with its 95 % interval, and n."""
    interval = mean_interval(scores)
    return {
        "score_mean": interval.estimate,
        "score_ci_low": interval.low,
        "score_ci_high": interval.high,
        "n": interval.n,
    }


def rate_part(refused: np.ndarray) -> Row:
    """`rate` with its Wilson interval, and n."""
    interval = wilson(int(refused.sum()), len(refused))
    return {"rate": interval.estimate, "ci_low": interval.low, "ci_high": interval.high, "n": interval.n}


def kl_part(kl: np.ndarray | None) -> Row:
    """`kl_mean`, where it was measured."""
    return {} if kl is None else {"kl_mean": float(np.mean(kl))}


def rate_row(m: Measurement) -> Row:
    """A row of `rates`."""
    counts = {name: sum(v == name for v in m.verdicts) for name in ("refused", "complied", "neither")}
    return {"condition": m.condition, "prompts": m.label, **counts, **rate_part(m.refused)}


def score_row(m: Measurement) -> Row:
    """A row of `scores`."""
    return {"condition": m.condition, "prompts": m.label, **score_part(m.scores)}


def drift_row(m: Measurement) -> Row:
    """A row of `drift`, without cross-entropy.

    Raises:
        AssertionError: if KL was not measured.
    """
    assert m.kl is not None
    interval = mean_interval(m.kl)
    row = {
        "condition": m.condition,
        "prompts": m.label,
        "n": interval.n,
        "kl_mean": interval.estimate,
        "ci_low": interval.low,
        "ci_high": interval.high,
    }
    if m.verdicts:
        row["degenerate_share"] = sum(v == "neither" for v in m.verdicts) / len(m.verdicts)
    return row


def compare(treatment: Measurement, reference: Measurement, margin: float, question: str) -> tuple[Row, Row]:
    """A row of `comparisons`, without what `adjust` adds, and one of `power`, for the prompts that both have."""
    n = min(len(treatment.verdicts), len(reference.verdicts))
    result = paired_comparison(treatment.refused[:n], reference.refused[:n], margin=margin)
    ids = {"treatment": treatment.condition, "reference": reference.condition, "prompts": treatment.label, "n": n}
    row = ids | {
        "difference": result.difference,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "ci90_low": result.ci90_low,
        "ci90_high": result.ci90_high,
        "mcnemar_p": result.mcnemar_p,
        "margin": margin,
        "equivalent": bool(result.equivalent),
        "noninferior": bool(result.noninferior),
        "question": question,
    }
    power = ids | {
        "discordant_share": result.discordant_share,
        "power": float(equivalence_power(n, result.discordant_share, margin)),
        **({"prompts_needed": result.prompts_needed} if result.prompts_needed else {}),
    }
    return row, power


def adjust(rows: Sequence[Row]) -> None:
    """Holm-adjust the McNemar p values of comparisons, within each question, and judge by them, in place."""
    for question in {row["question"] for row in rows}:
        family = [row for row in rows if row["question"] == question]
        for row, p in zip(family, holm([row["mcnemar_p"] for row in family]), strict=True):
            row["holm_p"] = float(min(p, 1.0))
            row["verdict"] = judged(row, row["holm_p"])


def judged(row: Row, holm_p: float) -> Judgement:
    """The verdict on a row of `comparisons` with a p value adjusted in some family."""
    return judge((row["ci_low"], row["ci_high"]), (row["ci90_low"], row["ci90_high"]), row["margin"], holm_p)


def merge(results: Row, part: Mapping[str, Any]) -> None:
    """Put a part into results: lists are appended to, mappings merged, everything else replaced."""
    for key, value in part.items():
        if isinstance(value, list) and isinstance(results.get(key), list):
            results[key].extend(value)
        elif isinstance(value, dict) and isinstance(results.get(key), dict):
            results[key].update(value)
        else:
            results[key] = value
