"""What was measured of each prompt → rows; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhat.artifacts.measured import Answered
from rhat.gauges.rows import Cloud, Guarded, Inversion, Placed, Shift
from rhat.reprs import one_line
from rhat.statistics import auroc, holm, judge, mean_interval, mean_p, paired_comparison
from rhat.statistics.logistic import ridge_logistic
from rhat.statistics.paired_ranking import auroc_difference

Values = NDArray[np.float64]
GAUGES = ("harmfulness", "refusal")
SIDES = ("harmful", "harmless")
PENALTY = 1.0  # of the logistic guard, on gauges in α


@dataclass(frozen=True, eq=False)
class Seen:
    """Test prompts of one label.

    answers  condition → its answers; "baseline" of every label, the gauges and "random" of harmful and harmless prompts
    judged   condition → log-odds of Yes to the inversion question, nats
    plane    α on the harmfulness gauge and on the refusal gauge, [n, 2]
    rhat     projections on r̂, residual-stream units
    """

    prompt_ids: tuple[str, ...]
    topics: tuple[str, ...]
    answers: Mapping[str, Answered]
    judged: Mapping[str, Values]
    plane: Values
    rhat: Values

    __repr__ = one_line


def shifts_of(seen: Mapping[str, Seen]) -> list[Shift]:
    """Every comparison of the family, adjusted together (Holm), oriented towards the other side."""
    rows: list[dict[str, Any]] = []
    for label in SIDES:
        if label not in seen:
            continue
        for measure in ("judged_harmful", "refused"):
            pairs = [(gauge, "baseline") for gauge in GAUGES]
            own = "harmfulness" if measure == "judged_harmful" else "refusal"
            other = next(gauge for gauge in GAUGES if gauge != own)
            for condition, reference in [*pairs, (own, other), (own, "random")]:
                part = _shift(seen[label], label, measure, condition, reference)
                ids = {"measure": measure, "condition": condition, "reference": reference, "prompts": label}
                rows.append(ids | part)
    if not rows:
        return []
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["holm_p"] = float(p)
        row["verdict"] = judge((row["ci_low"], row["ci_high"]), holm_p=float(p))
    return [Shift.of(row) for row in rows]


def _shift(seen: Seen, label: str, measure: str, condition: str, reference: str) -> dict[str, Any]:
    sign = -1.0 if label == "harmful" else 1.0
    if measure == "judged_harmful":
        apart = sign * (seen.judged[condition] - seen.judged[reference])
        found = mean_interval(apart, groups=seen.topics)
        said = {
            "n": found.n,
            "unit": "log-odds",
            "difference": found.estimate,
            "ci_low": found.low,
            "ci_high": found.high,
        }
        return said | {"p": mean_p(apart, seen.topics)}
    first, second = (seen.answers[name].refused for name in (condition, reference))
    if sign < 0:  # towards the other side is away from refusal
        first, second = ~first, ~second
    compared = paired_comparison(first, second, groups=seen.topics)
    return {
        "n": compared.n,
        "unit": "share",
        "difference": compared.difference,
        "ci_low": compared.ci_low,
        "ci_high": compared.ci_high,
        "p": compared.mcnemar_p,
    }


def inversion_of(seen: Mapping[str, Seen]) -> Inversion | None:
    """Whether the unedited model tells harmful requests from harmless ones when it is asked."""
    if not all(label in seen for label in SIDES):
        return None
    high, low = (seen[label].judged["baseline"] for label in SIDES)
    area = auroc(high, low, groups=(seen["harmful"].topics, seen["harmless"].topics))
    return Inversion(n_positive=len(high), n_negative=len(low), auroc=area.estimate, low=area.low, high=area.high)


def plane_of(seen: Mapping[str, Seen]) -> list[Placed]:
    """Every test prompt in the plane."""
    return [
        Placed.of(
            {
                "prompt_id": name,
                "prompts": label,
                "harmfulness": float(s.plane[i, 0]),
                "refusal": float(s.plane[i, 1]),
                "judged": float(s.judged["baseline"][i]),
                "refused": bool(s.answers["baseline"].refused[i]),
            }
        )
        for label, s in seen.items()
        for i, name in enumerate(s.prompt_ids)
    ]


def clouds_of(seen: Mapping[str, Seen]) -> list[Cloud]:
    """Means on both gauges of the refused prompts and of the others; of two or more."""
    rows = []
    for label, s in seen.items():
        refused = s.answers["baseline"].refused
        for which in (True, False):
            inside = refused == which
            if int(inside.sum()) < 2:
                continue
            row: dict[str, Any] = {"prompts": label, "refused": which, "n": int(inside.sum())}
            topics = list(np.array(s.topics)[inside])
            for column, gauge in enumerate(GAUGES):
                found = mean_interval(s.plane[inside, column], groups=topics)
                row |= {gauge: found.estimate, f"{gauge}_low": found.low, f"{gauge}_high": found.high}
            rows.append(Cloud.of(row))
    return rows


def guard_on_both(harmful: Values, harmless: Values) -> tuple[Values, float]:
    """Weights [2] and intercept of the logistic guard, fitted on training prompts [n, 2] in α."""
    rows = np.concatenate([harmful, harmless])
    return ridge_logistic(rows, np.arange(len(rows)) < len(harmful), PENALTY)


def guards_of(seen: Mapping[str, Seen], guard: tuple[Values, float]) -> list[Guarded]:
    """Both guards on harmful test prompts against borderline ones, and against harmless ones."""
    weights, intercept = guard
    rows = []
    for label in ("borderline", "harmless"):
        if label not in seen or "harmful" not in seen:
            continue
        sides = seen["harmful"], seen[label]
        both = [s.plane @ weights + intercept for s in sides]
        alone = [s.rhat for s in sides]
        groups = sides[0].topics, sides[1].topics
        areas = [auroc(high, low, groups=groups) for high, low in (both, alone)]
        apart = auroc_difference((both[0], alone[0]), (both[1], alone[1]), groups=groups)
        rows.append(
            Guarded(
                negatives=label,
                n_positive=len(both[0]),
                n_negative=len(both[1]),
                both=areas[0].estimate,
                both_low=areas[0].low,
                both_high=areas[0].high,
                rhat=areas[1].estimate,
                rhat_low=areas[1].low,
                rhat_high=areas[1].high,
                difference=apart.estimate,
                difference_low=max(-1.0, apart.low),
                difference_high=min(1.0, apart.high),
                verdict=judge((apart.low, apart.high)) if label == "borderline" else None,
            )
        )
    return rows
