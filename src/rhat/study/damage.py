"""Question 4: ablating against subtracting, over coefficients and sites, compared at matched damage."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat.interventions import Intervention, ablate, subtract
from rhat.statistics import mean_interval, spearman
from rhat.study.lab import Lab
from rhat.study.rows import score_part

OWN_SHARES = (
    0.25,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    3.0,
)  # coefficients at the own layer, in units of the mean harmful projection
ALL_SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)  # and at every layer, where they add up


def damage(lab: Lab) -> dict[str, Any]:
    """Refusal scores of harmful prompts beside KL on harmless ones: {ablate, subtract} × {own layer, all layers}."""
    d, n = lab.direction, lab.sizes.sweep
    doings: list[tuple[str, Intervention]] = [
        ("ablate", ablate(d)),
        ("ablate:own", ablate(d, where="own layer")),
    ]
    doings += [(f"subtract:own:{s:g}", subtract(d, s * d.mean_harmful)) for s in OWN_SHARES]
    doings += [(f"subtract:all:{s:g}", subtract(d, s * d.mean_harmful, where="all layers")) for s in ALL_SHARES]
    rows, scores = [], {}
    before, _ = lab.score(None, "harmful", n)
    rows.append({"condition": "baseline", "op": "none", "sites": "own layer", "kl_mean": 0.0, **score_part(before)})
    for done, (name, doing) in enumerate(doings):
        lab.describe(name, doing)
        on_harmful, _ = lab.score(doing, "harmful", n)
        _, kl = lab.score(doing, "harmless", n, kl=True)
        assert kl is not None
        scores[name] = on_harmful
        row = {
            "condition": name,
            "op": doing.op,
            "sites": doing.where,
            "kl_mean": float(kl.mean()),
            **score_part(on_harmful),
        }
        if doing.op == "subtract":
            row["coefficient"] = doing.value
        rows.append(row)
        lab.progress("damage", done + 1, len(doings))
    return {"damage": rows, "ablate_vs_subtract": _matched(rows, scores) | _per_prompt(lab)}


def _matched(rows: list[dict[str, Any]], scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """Each ablation beside the subtraction of the nearest KL: at the same sites, and at either."""
    found = []
    for ablation in (r for r in rows if r["op"] == "ablate"):
        for sites in ("own layer", "all layers"):
            rivals = [r for r in rows if r["op"] == "subtract" and r["sites"] == sites]
            nearest = min(rivals, key=lambda r: abs(np.log(max(r["kl_mean"], 1e-9) / max(ablation["kl_mean"], 1e-9))))
            gap = mean_interval(scores[nearest["condition"]] - scores[ablation["condition"]])
            found.append(
                {
                    "treatment": nearest["condition"],
                    "reference": ablation["condition"],
                    "sites": sites if sites == ablation["sites"] else "mixed",
                    "kl_treatment": nearest["kl_mean"],
                    "kl_reference": ablation["kl_mean"],
                    "difference": gap.estimate,
                    "ci_low": gap.low,
                    "ci_high": gap.high,
                    "unit": "log-odds",
                    "n": gap.n,
                }
            )
    return {"matched": found}


def _per_prompt(lab: Lab) -> dict[str, Any]:
    """The thread's explanation, prompt by prompt: is subtracting further from ablating where the projection is smaller?

    Both at the own layer, where they differ by r̂·x − c only.
    """
    d, n = lab.direction, len(lab.testing["harmful"])
    at_layer = {
        op: lab.score(doing, "harmful", n)[0]
        for op, doing in (("ablate", ablate(d, where="own layer")), ("subtract", subtract(d)))
    }
    projections = d.project(lab.testing["harmful"][:, d.layer]).numpy()
    rank = spearman(projections, np.abs(at_layer["subtract"] - at_layer["ablate"]))
    return {"spearman_projection_gap": {"rho": rank.estimate, "ci_low": rank.low, "ci_high": rank.high, "n": rank.n}}
