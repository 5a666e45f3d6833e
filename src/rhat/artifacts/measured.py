"""Measurements → rows of results.json, from the values of each prompt; no torch, so that they can be computed again without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, get_args, runtime_checkable

import numpy as np

from rhat.artifacts.judges import Class
from rhat.artifacts.rows import Comparison, Drift, Power, Rate, Score
from rhat.statistics import dependence, mean_interval, paired_comparison, wilson

Row = dict[str, Any]
APART = ("audit:", "horizon:", "resampled:", "split:")
"""How conditions begin that repeat others with longer answers, other directions or other prompts: they count in no total."""
CLASSES: tuple[str, ...] = get_args(Class)


@runtime_checkable
class Answered(Protocol):
    """One condition on one set of prompts, prompt by prompt: what a lab measured, or what a study kept of it."""

    @property
    def condition(self) -> str: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def scores(self) -> np.ndarray: ...  # noqa: D102
    @property
    def verdicts(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def kl(self) -> np.ndarray | None: ...  # noqa: D102
    @property
    def topics(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def refused(self) -> np.ndarray: ...  # noqa: D102


def score_part(scores: np.ndarray, topics: Sequence[str] = ()) -> Row:
    """`score_mean` with its 95 % interval, and n; `topics` are those of the prompts."""
    interval = mean_interval(scores, groups=topics[: len(scores)])
    return {
        "score_mean": interval.estimate,
        "score_ci_low": interval.low,
        "score_ci_high": interval.high,
        "n": interval.n,
    }


def rate_part(refused: np.ndarray, topics: Sequence[str] = ()) -> Row:
    """`rate` with its Wilson interval, and n; `topics` are those of the prompts, as many of which it takes to be independent."""
    alike = dependence(refused, topics[: len(refused)])
    interval = wilson(int(refused.sum()), len(refused), design_effect=1.0 if alike is None else alike.design_effect)
    return {"rate": interval.estimate, "ci_low": interval.low, "ci_high": interval.high, "n": interval.n}


def alike_part(values: np.ndarray, topics: Sequence[str]) -> Row:
    """`clusters`, `icc` and `design_effect`, where prompts share topics."""
    alike = dependence(values, topics)
    return {} if alike is None else {"clusters": alike.clusters, "icc": alike.icc, "design_effect": alike.design_effect}


def kl_part(kl: np.ndarray | None) -> Row:
    """`kl_mean`, where it was measured."""
    return {} if kl is None else {"kl_mean": float(np.mean(kl))}


def rate_row(m: Answered) -> Rate:
    """A row of `rates`: how many answers are of each class, and the shares of those that are not compliance."""
    row: Row = {"condition": m.condition, "prompts": m.label, **rate_part(m.refused, m.topics)}
    row |= alike_part(m.refused, m.topics)
    for name in CLASSES:
        row[name] = sum(v == name for v in m.verdicts)
    for name in ("partial", "degenerate"):
        found = rate_part(np.array([v == name for v in m.verdicts]), m.topics)
        row |= {f"{name}_{key}": found[key] for key in ("rate", "ci_low", "ci_high")}
    return Rate.of(row)


def score_row(m: Answered) -> Score:
    """A row of `scores`."""
    return Score.of({"condition": m.condition, "prompts": m.label, **score_part(m.scores, m.topics)})


def drift_row(m: Answered, cross_entropy: np.ndarray | None = None) -> Drift:
    """A row of `drift`.

    Raises:
        AssertionError: if KL was not measured.
    """
    assert m.kl is not None
    interval = mean_interval(m.kl, groups=m.topics[: len(m.kl)])
    row: dict[str, Any] = {
        "condition": m.condition,
        "prompts": m.label,
        "n": interval.n,
        "kl_mean": interval.estimate,
        "ci_low": interval.low,
        "ci_high": interval.high,
    }
    if m.verdicts:
        row["degenerate_share"] = sum(v == "degenerate" for v in m.verdicts) / len(m.verdicts)
    return Drift.of(row | entropy_part(cross_entropy))


def entropy_part(cross_entropy: np.ndarray | None) -> Row:
    """`cross_entropy` with its 95 % interval over the answers that have tokens; the mean alone of a single one."""
    if cross_entropy is None:
        return {}
    known = cross_entropy[~np.isnan(cross_entropy)]
    if len(known) < 2:
        return {"cross_entropy": float(known[0])} if len(known) else {}
    found = mean_interval(known)
    return {"cross_entropy": found.estimate, "cross_entropy_ci_low": found.low, "cross_entropy_ci_high": found.high}


def compare(treatment: Answered, reference: Answered, margin: float, question: str) -> tuple[Comparison, Power | None]:
    """A row of `comparisons`, judged as the only one of its family until `adjust`, and one of `power`, for the prompts that both have."""
    n = min(len(treatment.verdicts), len(reference.verdicts))
    topics = treatment.topics[:n]
    result = paired_comparison(treatment.refused[:n], reference.refused[:n], margin=margin, groups=topics)
    ids = {"treatment": treatment.condition, "reference": reference.condition, "prompts": treatment.label, "n": n}
    row = Comparison.of(
        ids
        | {
            "difference": result.difference,
            "ci_low": result.ci_low,
            "ci_high": result.ci_high,
            "ci90_low": result.ci90_low,
            "ci90_high": result.ci90_high,
            "treatment_only": result.b,
            "reference_only": result.c,
            "mcnemar_p": result.mcnemar_p,
            "margin": margin,
            "equivalent": bool(result.equivalent),
            "noninferior": bool(result.noninferior),
            "verdict": result.verdict,
            "question": question,
        }
        | alike_part(treatment.refused[:n].astype(float) - reference.refused[:n], topics)
    )
    if not result.prompts_needed:
        return row, None
    return row, Power.of(ids | {"discordant_share": result.discordant_share, "prompts_needed": result.prompts_needed})


def compared(pairs: Iterable[tuple[Answered, Answered]], margin: float, question: str) -> dict[str, Any]:
    """`comparisons` and `power` of pairs of measurements, as fields of a part of results."""
    both = [compare(treatment, reference, margin, question) for treatment, reference in pairs]
    return {"comparisons": [row for row, _ in both], "power": [power for _, power in both if power is not None]}


def undecided(rows: Sequence[Row], compared: Sequence[Comparison]) -> list[Row]:
    """The rows of `power` whose comparison is undecided: of one that is decided there is nothing more to need."""
    open_ones = {row.names for row in compared if row.verdict == "undecided"}
    return [row for row in rows if (row["treatment"], row["reference"], row["prompts"]) in open_ones]


def merge(results: Row, part: Mapping[str, Any]) -> None:
    """Put a part into results: lists are appended to, everything else is replaced."""
    for key, value in part.items():
        if isinstance(value, list) and isinstance(results.get(key), list):
            results[key].extend(value)
        else:
            results[key] = value
