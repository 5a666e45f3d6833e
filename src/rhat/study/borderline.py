"""Question 9: over-refusal, on harmless requests with alarming words."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat.interventions import ablate, set_projection
from rhat.study.lab import Lab
from rhat.study.projections import within
from rhat.study.rows import compare, rate_row, score_row


def borderline(lab: Lab) -> dict[str, Any]:
    """Borderline prompts: baseline, set to the harmful mean, set to the harmless mean, ablate; and their projections."""
    d = lab.direction
    prompts = lab.test("borderline", lab.sizes.headline)
    if not prompts:
        return {}
    doings = {
        "baseline": None,
        "set_projection": set_projection(d),
        "set_harmless_mean": set_projection(d, d.mean_harmless),
        "ablate": ablate(d),
    }
    measured = list(lab.measure_each(doings, "borderline", len(prompts), stage="borderline").values())
    baseline = measured[0]
    compared = [compare(m, baseline, lab.margin, "over_refusal") for m in measured[1:]]
    values = d.project(lab.activations(prompts, [d.layer])[:, 0]).numpy()
    groups = {"all": np.ones(len(values), dtype=bool), "refused": baseline.refused, "complied": ~baseline.refused}
    rows = []
    for group, inside in groups.items():
        some = values[inside]
        if len(some) >= 2:
            rows.append({"group": group, "mean": float(some.mean()), "sd": float(some.std(ddof=1)), "n": len(some)})
    return {
        "rates": [rate_row(m) for m in measured],
        "scores": [score_row(m) for m in measured],
        "comparisons": [row for row, _ in compared],
        "power": [row for _, row in compared if "prompts_needed" in row],
        "borderline_projections": rows,
        "auroc_within": [row for row in within(lab) if "borderline" in row["comparison"]],
    }
