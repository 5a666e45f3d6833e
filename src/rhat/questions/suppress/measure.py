"""What is measured: ablating, subtracting and ablating at random on harmful prompts; ablating against subtracting, over coefficients and sites, compared at matched damage."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rhat.artifacts.rows import Drift
from rhat.interventions import Intervention, ablate, subtract
from rhat.interventions.intervention import Where
from rhat.lab import Asked, Lab, Measurement, RotatedControls
from rhat.lab.own import own_answers
from rhat.lab.rows import compared, drift_row, entropy_part, rate_part, rate_row, score_part, score_row
from rhat.questions.suppress.rows import Rows
from rhat.scoring import cross_entropy
from rhat.selection.survey import SIDES
from rhat.statistics import judge, mean_interval, spearman

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


def suppress(lab: Lab) -> Rows:
    """Refusals on harmful test prompts: baseline, ablating, subtracting, ablating at random."""
    d, n = lab.direction, lab.sizes.headline
    units = lab.random_units()[: lab.sizes.dealt]
    treatments = {
        "baseline": None,
        "ablate": ablate(d),
        "subtract": subtract(d),
        "random_ablate": RotatedControls(tuple(_ablate_random(lab, unit) for unit in units)),
    }
    measured = list(lab.measure_conditions(treatments, "harmful", n, stage="ablating").values())
    baseline, ablated, subtracted, dealt = measured
    n = len(baseline.verdicts)
    pairs = [(ablated, baseline), (subtracted, baseline), (subtracted, ablated), (dealt, baseline), (ablated, dealt)]
    few = min(lab.sizes.sweep, n)
    part: dict[str, Any] = {
        "rates": [rate_row(m) for m in measured],
        "scores": [score_row(m) for m in measured],
        **compared(pairs, lab.margin, "suppress"),
        "random_controls": _few_random_ablations(lab, dealt, few),
        "drift": _harmless_drift(lab, few),
    }
    return Rows.of(part)


def _ablate_random(lab: Lab, unit: torch.Tensor) -> Intervention:
    return Intervention("ablate", unit, lab.direction.layer, where="all layers")


def _few_random_ablations(lab: Lab, dealt: Measurement, n: int) -> list[dict[str, Any]]:
    """Ablation at random touches every layer, so only the dealt directions are scored."""
    units = lab.random_units()[: lab.sizes.dealt]
    found = lab.score_conditions([_ablate_random(lab, unit) for unit in units], "harmful", n)
    return [
        {
            "condition": "random_ablate",
            "seed": lab.seed * 1000 + i,
            "kind": "orthogonal",
            "prompts": "harmful",
            **score_part(scores, lab.topics("harmful", n)),
            **{
                k: v
                for k, v in rate_part(dealt.refused[i :: lab.sizes.dealt], dealt.topics[i :: lab.sizes.dealt]).items()
                if k != "n"
            },
        }
        for i, (scores, _) in enumerate(found)
    ]


def _harmless_drift(lab: Lab, n: int) -> list[Drift]:
    """What ablating and subtracting do to harmless prompts: KL, degeneration, and, of half as many as the sweep's, the
    cross-entropy of the baseline's answers."""
    d = lab.direction
    few = max(1, min(n, lab.sizes.sweep) // 2)
    said = own_answers(lab, few)
    rows: list[Drift] = []
    treatments = {"ablate": ablate(d), "subtract": subtract(d)}
    measured = lab.measure_conditions(treatments, "harmless", n, kl=True, stage="ablating, harmless")
    for name, treatment in {"baseline": None, **treatments}.items():
        entropy = cross_entropy(lab.model, *said, lab.edits(treatment)).double().cpu().numpy()
        if treatment is None:
            none = {"kl_mean": 0.0, "ci_low": 0.0, "ci_high": 0.0, **entropy_part(entropy)}
            rows.append(Drift.of({"condition": name, "prompts": "harmless", "n": few} | none))
            continue
        rows.append(drift_row(measured[name], entropy))
    return rows


def damage(lab: Lab) -> Rows:
    """Refusal scores of harmful prompts beside KL on harmless ones: {ablate, subtract} × {own layer, all layers}."""
    d, n = lab.direction, lab.sizes.sweep
    treatments: list[tuple[str, Intervention]] = [
        ("ablate", ablate(d)),
        ("ablate:own", ablate(d, where="own layer")),
    ]
    treatments += [(f"subtract:own:{s:g}", subtract(d, s * d.mean_harmful)) for s in OWN_SHARES]
    treatments += [(f"subtract:all:{s:g}", subtract(d, s * d.mean_harmful, where="all layers")) for s in ALL_SHARES]
    rows: list[dict[str, Any]] = []
    scores: dict[str, np.ndarray] = {}
    before, _ = lab.score(None, "harmful", n)
    rows.append(
        {
            "condition": "baseline",
            "op": "none",
            "sites": "own layer",
            "kl_mean": 0.0,
            **score_part(before, lab.topics("harmful", n)),
        }
    )
    for done, (name, treatment) in enumerate(treatments):
        rows.append(_row(lab, name, treatment, scores))
        lab.progress("damage", done + 1, len(treatments))
    both = _matched(lab, rows, scores) | _per_prompt(lab)
    return Rows.of({"damage": rows, "ablate_vs_subtract": both})


def _row(lab: Lab, name: str, treatment: Intervention, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """Scores of harmful prompts and KL of harmless ones under an intervention."""
    n = lab.sizes.sweep
    lab.describe(name, treatment)
    scores[name], _ = lab.score(treatment, "harmful", n)
    _, kl = lab.score(treatment, "harmless", n, kl=True)
    assert kl is not None
    row = {
        "condition": name,
        "op": treatment.op,
        "sites": treatment.where,
        "kl_mean": float(kl.mean()),
        **score_part(scores[name], lab.topics("harmful", n)),
    }
    if treatment.op == "subtract":
        row["coefficient"] = treatment.value
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
            gap = mean_interval(
                scores[nearest["condition"]] - scores[ablation["condition"]],
                groups=lab.topics("harmful", lab.sizes.sweep),
            )
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
    """The explanation by the projection, prompt by prompt: is subtracting further from ablating where the projection is smaller?

    Both at the own layer, where they differ by r̂·x − c only. Fewer than four prompts have no rank correlation.
    """
    d, n = lab.direction, len(lab.testing["harmful"])
    if n < 4:
        return {}
    at_layer = {
        op: lab.score(treatment, "harmful", n)[0]
        for op, treatment in (("ablate", ablate(d, where="own layer")), ("subtract", subtract(d)))
    }
    projections = d.project(lab.testing["harmful"][:, d.layer]).numpy()
    rank = spearman(projections, np.abs(at_layer["subtract"] - at_layer["ablate"]))
    verdict = judge((rank.low, rank.high))
    row = {"rho": rank.estimate, "ci_low": rank.low, "ci_high": rank.high, "n": rank.n, "verdict": verdict}
    return {"spearman_projection_gap": row}


def suppress_cost(a: Asked) -> None:
    """Four conditions by generation, random ablations by log-odds, and what ablating does to harmless prompts."""
    x = a.given
    for name in ("baseline", "ablate", "subtract"):
        a.once((name, "harmful"))
    x.answered(4, a.head("harmful"), a.tokens)
    x.scored(min(5, a.sizes.dealt), a.sweep("harmful"))
    x.answered(2, a.sweep(), a.tokens)
    x.scored(1, a.sweep())
    few = a.sweep()[: max(1, len(a.sweep()) // 2)]
    if few:
        said = round(x.answers.of_at_most(a.tokens))
        longer = max(len(p) + said for p in x.plan(few).prompts) / (sum(map(len, x.plan(few).prompts)) / len(few))
        x.scored(3 * longer, few, head=False)


def damage_cost(a: Asked) -> None:
    """Ablating and subtracting at their own layer and at all, on both labels, with three steps towards each damage."""
    x = a.given
    a.testing()
    for label in SIDES:
        x.scored(1, a.sweep(label))
        x.scored(11, a.sweep(label), x.layer)
        x.scored(9, a.sweep(label))
    x.scored(2, a.head("harmful"), x.layer)
