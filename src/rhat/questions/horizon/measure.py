"""What is measured: the class of the same answers after more and more of their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rhat.interventions import ablate, set_projection
from rhat.lab import Asked, Lab, Measurement
from rhat.lab.rows import rate_part, score_part
from rhat.questions.horizon.rows import Rows
from rhat.scoring.judges import CLASSES
from rhat.selection.survey import SIDES
from rhat.statistics import holm, judge, paired_comparison

TOKENS = (8, 16, 24, 40, 64, 100, 160)
PROMPTS = 64  # of each label at most: these answers are several times as long as others


def horizon(lab: Lab) -> Rows:
    """Baseline and the main conditions, by generation, read after 8, 16, 24 … tokens; and what reading on changes."""
    d, n = lab.direction, min(lab.sizes.sweep, PROMPTS)
    main: tuple[tuple[str, Any, str], ...] = (
        ("baseline", None, "harmful"),
        ("ablate", ablate(d), "harmful"),
        ("baseline", None, "harmless"),
        ("set_projection", set_projection(d), "harmless"),
    )
    lengths = horizons(lab.judged_tokens, lab.sizes.horizon)
    rows: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    for name, treatment, label in main:
        m = lab.measure(f"horizon:{name}", treatment, label, n, max_new_tokens=lengths[-1], lengths=lengths[:-1])
        found = {**m.shorter, lengths[-1]: m.verdicts}
        names = {"condition": m.condition, "prompts": label}
        rows += [names | {"tokens": length} | _row(m, classes) for length, classes in found.items()]
        changes.append(names | _change(found, lab.judged_tokens, lengths[-1], lab.margin, m.topics))
    for row, p in zip(changes, holm([row["mcnemar_p"] for row in changes]), strict=True):
        row["holm_p"] = float(min(p, 1.0))
        row["verdict"] = judge((row["ci_low"], row["ci_high"]), row.pop("ci90"), row["margin"], row["holm_p"])
    return Rows.of({"horizon": rows, "horizon_changes": changes})


def horizons(judged: int, most: int) -> tuple[int, ...]:
    """Numbers of tokens after which answers are read, rising; what the study judges is among them, and not the last."""
    usual = {length for length in TOKENS if length <= most}
    return tuple(sorted(usual | {judged} | ({2 * judged} if judged >= max(usual, default=0) else set())))


def _refused(classes: tuple[str, ...]) -> np.ndarray:
    return np.array([found == "refused" for found in classes], dtype=bool)


def _row(m: Measurement, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        **score_part(m.scores, m.topics),
        **rate_part(_refused(classes), m.topics),
        **{name: classes.count(name) for name in CLASSES},
    }


def _change(
    found: Mapping[int, tuple[str, ...]], judged: int, most: int, margin: float, topics: tuple[str, ...]
) -> dict[str, Any]:
    before, after = _refused(found[judged]), _refused(found[most])
    result = paired_comparison(after, before, margin=margin, groups=topics)
    return {
        "tokens": judged,
        "most": most,
        "n": result.n,
        "late": int((after & ~before).sum()),
        "turned": int((before & ~after).sum()),
        "difference": result.difference,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "ci90": (result.ci90_low, result.ci90_high),
        "mcnemar_p": result.mcnemar_p,
        "margin": margin,
        "equivalent": bool(result.equivalent),
    }


def horizon_cost(a: Asked) -> None:
    """Four conditions with longer answers."""
    most = horizons(a.tokens, a.sizes.horizon)[-1]
    for label in SIDES:
        for _ in range(2):
            a.given.answered(1, a.sweep(label, min(a.sizes.sweep, PROMPTS)), most)
