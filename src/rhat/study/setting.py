"""Questions 1 and 4, the headline: setting, adding and random directions on harmless prompts; ablating and subtracting on
harmful ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rhat.capture import capture_all_tokens
from rhat.interventions import Intervention, ablate, add, set_projection, subtract
from rhat.scoring import cross_entropy
from rhat.study.lab import Dealt, Lab, Measurement
from rhat.study.rows import compare, drift_row, merge, rate_part, rate_row, score_part, score_row

NEAR = 0.10  # near zero: |projection| below this share of the gap between the two means


def _set_random(lab: Lab, unit: torch.Tensor) -> Intervention:
    return Intervention("set_projection", unit, lab.direction.layer, lab.random_target(unit))


def _ablate_random(lab: Lab, unit: torch.Tensor) -> Intervention:
    return Intervention("ablate", unit, lab.direction.layer, where="all layers")


def _controls(
    lab: Lab, condition: str, make: Any, label: str, dealt: Measurement, n: int, kl: bool
) -> list[dict[str, Any]]:
    """Every random direction by log-odds; those that were dealt also by generation."""
    rows = []
    kinds = [("orthogonal", i, unit) for i, unit in enumerate(lab.random_units())]
    if condition == "random_set_projection":
        kinds += [("permuted_labels", i, unit) for i, unit in enumerate(lab.permuted_units())]
    found = lab.score_each(
        [make(lab, unit) for _, _, unit in kinds], label, n, kl=kl, stage=f"{condition}, {label}, by log-odds"
    )
    for (kind, i, _), (scores, divergence) in zip(kinds, found, strict=True):
        row = {
            "condition": condition,
            "seed": lab.seed * 1000 + i + 500 * (kind != "orthogonal"),
            "kind": kind,
            "prompts": label,
            **score_part(scores),
        }
        if divergence is not None:
            row["kl_mean"] = float(np.mean(divergence))
        if kind == "orthogonal" and i < lab.sizes.dealt:
            mine = dealt.refused[i :: lab.sizes.dealt]
            if len(mine):
                row |= {k: v for k, v in rate_part(mine).items() if k != "n"}
        rows.append(row)
    return rows


def setting(lab: Lab) -> dict[str, Any]:
    """Question 1: refusals on harmless test prompts: baseline, setting, adding, random directions of equal displacement."""
    d, n = lab.direction, lab.sizes.headline
    units = lab.random_units()[: lab.sizes.dealt]
    doings = {
        "baseline": None,
        "set_projection": set_projection(d),
        "add_average": add(d),
        "add_difference": add(d, d.norm),
        "random_set_projection": Dealt(tuple(_set_random(lab, unit) for unit in units)),
    }
    by_name = lab.measure_each(doings, "harmless", n, kl=True, stage="setting")
    measured = list(by_name.values())
    dealt, n = by_name["random_set_projection"], len(measured[0].verdicts)
    pairs = [
        ("set_projection", "baseline"),
        ("add_average", "set_projection"),
        ("add_difference", "set_projection"),
        ("add_average", "baseline"),
        ("add_difference", "baseline"),
        ("random_set_projection", "baseline"),
        ("set_projection", "random_set_projection"),
    ]
    compared = [compare(by_name[a], by_name[b], lab.margin, "induce") for a, b in pairs]
    part: dict[str, Any] = {
        "rates": [rate_row(m) for m in measured],
        "scores": [score_row(m) for m in measured],
        "drift": [drift_row(m) for m in measured if m.kl is not None],
        "comparisons": [row for row, _ in compared],
        "power": [row for _, row in compared if "prompts_needed" in row],
        "random_controls": _controls(
            lab, "random_set_projection", _set_random, "harmless", dealt, lab.sizes.sweep, True
        ),
    }
    merge(part, near_zero(lab, n))
    return part


def near_zero(lab: Lab, n: int) -> dict[str, Any]:
    """How many harmless prompts, and how many of all their tokens, project to near zero at r̂'s layer."""
    d = lab.direction
    some = lab.plan("harmless", n)
    tokens = capture_all_tokens(lab.model, some, d.site, d.unit)
    threshold = NEAR * abs(lab.gap)
    at = torch.stack([t[d.position] for t in tokens])
    every = torch.cat(tokens)
    return {
        "near_zero": {
            "threshold_share": NEAR,
            "threshold": threshold,
            "prompts_share": float((at.abs() < threshold).double().mean()),
            "tokens_share": float((every.abs() < threshold).double().mean()),
            "n_prompts": len(at),
            "n_tokens": len(every),
        }
    }


def ablating(lab: Lab) -> dict[str, Any]:
    """Question 4, the headline: refusals on harmful test prompts: baseline, ablating, subtracting, ablating at random."""
    d, n = lab.direction, lab.sizes.headline
    units = lab.random_units()[: lab.sizes.dealt]
    doings = {
        "baseline": None,
        "ablate": ablate(d),
        "subtract": subtract(d),
        "random_ablate": Dealt(tuple(_ablate_random(lab, unit) for unit in units)),
    }
    measured = list(lab.measure_each(doings, "harmful", n, stage="ablating").values())
    baseline, ablated, subtracted, dealt = measured
    n = len(baseline.verdicts)
    pairs = [(ablated, baseline), (subtracted, baseline), (subtracted, ablated), (dealt, baseline), (ablated, dealt)]
    compared = [compare(a, b, lab.margin, "suppress") for a, b in pairs]
    part = {
        "rates": [rate_row(m) for m in measured],
        "scores": [score_row(m) for m in measured],
        "comparisons": [row for row, _ in compared],
        "power": [row for _, row in compared if "prompts_needed" in row],
    }
    few = min(lab.sizes.sweep, n)
    part["random_controls"] = _few_random_ablations(lab, dealt, few)
    merge(part, {"drift": _harmless_drift(lab, few)})
    return part


def _few_random_ablations(lab: Lab, dealt: Measurement, n: int) -> list[dict[str, Any]]:
    """Ablation at random touches every layer, so only the dealt directions are scored."""
    units = lab.random_units()[: lab.sizes.dealt]
    found = lab.score_each([_ablate_random(lab, unit) for unit in units], "harmful", n)
    return [
        {
            "condition": "random_ablate",
            "seed": lab.seed * 1000 + i,
            "kind": "orthogonal",
            "prompts": "harmful",
            **score_part(scores),
            **{k: v for k, v in rate_part(dealt.refused[i :: lab.sizes.dealt]).items() if k != "n"},
        }
        for i, (scores, _) in enumerate(found)
    ]


def _harmless_drift(lab: Lab, n: int) -> list[dict[str, Any]]:
    """What ablating and subtracting do to harmless prompts: KL, degeneration, and, of half as many as the sweep's, the
    cross-entropy of the baseline's answers."""
    d = lab.direction
    few = max(1, min(n, lab.sizes.sweep) // 2)
    said = _baseline_completions(lab, few)
    rows = []
    doings = {"ablate": ablate(d), "subtract": subtract(d)}
    measured = lab.measure_each(doings, "harmless", n, kl=True, stage="ablating, harmless")
    for name, doing in {"baseline": None, **doings}.items():
        entropy = cross_entropy(lab.model, *said, lab.edits(doing)).nanmean()
        if doing is None:
            rows.append(
                {
                    "condition": name,
                    "prompts": "harmless",
                    "n": few,
                    "kl_mean": 0.0,
                    "ci_low": 0.0,
                    "ci_high": 0.0,
                    "cross_entropy": float(entropy),
                }
            )
            continue
        rows.append(drift_row(measured[name]) | {"cross_entropy": float(entropy)})
    return rows


def _baseline_completions(lab: Lab, n: int) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Tokenised harmless prompts and the unedited model's own greedy answers to them."""
    prompts = lab.model.tokenize([p.text for p in lab.test("harmless", n)])
    return prompts, list(lab.measure("baseline", None, "harmless", n).tokens)


def agreement_rows(lab: Lab) -> dict[str, Any]:
    """How far phrases and log-odds agree on refused or not, over every condition measured by generation."""
    from rhat.statistics import agreement

    rows, all_phrases, all_odds = [], [], []
    for (condition, label), m in lab.measurements.items():
        if not m.verdicts or condition.startswith("audit:"):
            continue
        odds = m.scores > 0
        all_phrases.append(m.refused)
        all_odds.append(odds)
        one = agreement(m.refused, odds)
        row = {"condition": condition, "prompts": label, "agreement": one.share.estimate, "n": one.n}
        if one.kappa is not None:
            row["kappa"] = one.kappa.estimate
        rows.append(row)
    if not rows:
        return {}
    total = agreement(np.concatenate(all_phrases), np.concatenate(all_odds))
    if total.kappa is None:
        return {}
    return {
        "score_agreement": {
            "agreement": total.share.estimate,
            "kappa": total.kappa.estimate,
            "n": total.n,
            "threshold": 0.0,
            "conditions": rows,
        }
    }
