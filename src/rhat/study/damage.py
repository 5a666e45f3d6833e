"""Question 4: ablating against subtracting, over coefficients and sites, compared at matched damage."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat.interventions import Intervention, ablate, subtract
from rhat.interventions.intervention import Where
from rhat.statistics import judge, mean_interval, spearman
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
STEPS, CLOSE, WIDE = 3, np.log(1.15), np.log(1.5)  # of matching KL
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
    rows: list[dict[str, Any]] = []
    scores: dict[str, np.ndarray] = {}
    before, _ = lab.score(None, "harmful", n)
    rows.append({"condition": "baseline", "op": "none", "sites": "own layer", "kl_mean": 0.0, **score_part(before)})
    for done, (name, doing) in enumerate(doings):
        rows.append(_row(lab, name, doing, scores))
        lab.progress("damage", done + 1, len(doings))
    return {"damage": rows, "ablate_vs_subtract": _matched(lab, rows, scores) | _per_prompt(lab)}


def _row(lab: Lab, name: str, doing: Intervention, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """Scores of harmful prompts and KL of harmless ones under an intervention."""
    n = lab.sizes.sweep
    lab.describe(name, doing)
    scores[name], _ = lab.score(doing, "harmful", n)
    _, kl = lab.score(doing, "harmless", n, kl=True)
    assert kl is not None
    row = {
        "condition": name,
        "op": doing.op,
        "sites": doing.where,
        "kl_mean": float(kl.mean()),
        **score_part(scores[name]),
    }
    if doing.op == "subtract":
        row["coefficient"] = doing.value
    return row


def _apart(row: dict[str, Any], kl: float) -> float:
    return float(np.log(max(row["kl_mean"], 1e-9) / max(kl, 1e-9)))


def _dose_of(lab: Lab, sites: Where, kl: float, rows: list[dict[str, Any]], scores: dict[str, np.ndarray]) -> Any:
    """The subtraction at these sites whose KL is nearest to `kl`, after up to three steps towards it: KL grows as the
    square of a small coefficient. What is measured on the way joins `rows`."""

    def nearest() -> dict[str, Any]:
        rivals = [r for r in rows if r["op"] == "subtract" and r["sites"] == sites]
        return min(rivals, key=lambda r: abs(_apart(r, kl)))

    for _ in range(STEPS):
        best = nearest()
        if abs(_apart(best, kl)) < CLOSE:
            break
        coefficient = float(best["coefficient"] * np.exp(-_apart(best, kl) / 2))
        name = f"subtract:{str(sites).split()[0]}:{coefficient / lab.direction.mean_harmful:.3g}"
        if name in scores:
            break
        rows.append(_row(lab, name, subtract(lab.direction, coefficient, where=sites), scores))
    return nearest()


def _matched(lab: Lab, rows: list[dict[str, Any]], scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """Ablation beside the subtraction of the same KL: at the same sites, and subtraction at its own layer beside ablation
    at all layers, as both are published ("mixed"). Pairs whose KL differs by more than a factor 1.5 are left out."""
    found = []
    ablations = {r["sites"]: r for r in rows if r["op"] == "ablate"}
    pairs: tuple[tuple[Where, Where], ...] = (
        ("own layer", "all layers"),
        ("own layer", "own layer"),
        ("all layers", "all layers"),
    )
    for sites, where in pairs:
        if ablation := ablations.get(where):
            nearest = _dose_of(lab, sites, ablation["kl_mean"], rows, scores)
            if abs(_apart(nearest, ablation["kl_mean"])) > WIDE:
                continue
            gap = mean_interval(scores[nearest["condition"]] - scores[ablation["condition"]])
            found.append(
                {
                    "treatment": nearest["condition"],
                    "reference": ablation["condition"],
                    "sites": sites if sites == where else "mixed",
                    "kl_treatment": nearest["kl_mean"],
                    "kl_reference": ablation["kl_mean"],
                    "difference": gap.estimate,
                    "ci_low": gap.low,
                    "ci_high": gap.high,
                    "unit": "log-odds",
                    "n": gap.n,
                    "verdict": judge((gap.low, gap.high)),
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
    verdict = judge((rank.low, rank.high))
    row = {"rho": rank.estimate, "ci_low": rank.low, "ci_high": rank.high, "n": rank.n, "verdict": verdict}
    return {"spearman_projection_gap": row}
